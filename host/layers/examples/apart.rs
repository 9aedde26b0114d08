fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let read = |p: &String| std::fs::read(p).unwrap();
    let apart = match boardproof_layers::take_apart(&read(&args[0]), &read(&args[1])) {
        Ok(a) => a,
        Err(e) => return println!("ERR {e}"),
    };
    let l = &apart.layers;
    println!(
        "{} layers={} unseen={:?} not_alone={:?} weights={}",
        args[1],
        l.layers.len(),
        l.unseen.len(),
        l.not_alone,
        l.weights.len()
    );
    for layer in &l.layers {
        if layer.reads != layer.reads_reference || layer.to_input != layer.to_input_reference {
            println!(
                "   reads {} {:?} vs {:?} | {:?} vs {:?}",
                layer.tensor, layer.reads, layer.reads_reference, layer.to_input, layer.to_input_reference
            );
        }
    }
    for w in l
        .weights
        .iter()
        .filter(|w| w.off_share > 0.0 || w.unlike.is_some() || w.range_used_min < 0.5 || w.channels_off > 0)
    {
        println!("   {w:?}");
    }
    if let Some(out) = args.get(2) {
        std::fs::write(format!("{out}/ref.onnx"), apart.reference_shown(true)).unwrap();
        std::fs::write(format!("{out}/var.onnx"), apart.variant_shown()).unwrap();
        if let Some(b) = apart.each_alone() {
            std::fs::write(format!("{out}/alone.onnx"), b).unwrap();
        }
    }
}
