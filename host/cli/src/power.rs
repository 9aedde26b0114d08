//! `plan power`: how many samples a margin takes, before anything is run. The counting is the judge's.

use crate::args::PowerArgs;
use crate::exit::Exit;
use crate::list::print_json;
use crate::out::put;
use crate::project::World;
use anyhow::Result;
use boardproof_judge::compare::statistics::Expected;
use boardproof_plan::PlanError;
use boardproof_record::plan::{Model, Task};
use std::path::{Path, PathBuf};

/// What a model's own evalset can do.
struct OwnEvalset {
    model: String,
    samples: u64,
    power: f64,
    margin: Option<f64>,
}

/// Prints the counts.
pub fn power(args: &PowerArgs) -> Result<Exit> {
    let PowerArgs { margin, drop, discordant, confidence, .. } = *args;
    let expected = Expected { margin, drop, discordant, confidence };
    let paired = expected.samples_paired(args.power)?;
    let unpaired = expected.samples_unpaired(args.accuracy, args.power)?;
    let own = match &args.model {
        Some(name) => Some(own_evalset(&model(args, name)?, &expected, args.power)?),
        None => None,
    };
    if args.json {
        let own = own.as_ref().map(|own| {
            serde_json::json!({
                "model": own.model, "samples": own.samples, "power": own.power, "margin": own.margin,
                "enough": own.samples >= paired
            })
        });
        print_json(&serde_json::json!({
            "margin": margin, "drop": drop, "discordant": discordant, "confidence": confidence,
            "power": args.power, "accuracy": args.accuracy,
            "samples_paired": paired, "samples_unpaired_each": unpaired, "evalset": own
        }))?;
        return Ok(Exit::Pass);
    }
    put(in_words(args, paired, unpaired, own.as_ref()));
    Ok(Exit::Pass)
}

fn in_words(args: &PowerArgs, paired: u64, unpaired: u64, own: Option<&OwnEvalset>) -> String {
    let points = |share: f64| format!("{} points", rounded(share * 100.0));
    let percent = |share: f64| format!("{} %", rounded(share * 100.0));
    let mut text = format!(
        "To show with {} confidence that at most {} of accuracy are lost, when {} are and the answers part on {} of the samples:\n  \
         {paired} samples pass with a probability of {} (variant and reference on the same samples, as the gate judges them)\n  \
         {unpaired} samples of each side would, if they answered different ones (accuracy {})\n",
        percent(args.confidence),
        points(args.margin),
        points(args.drop),
        percent(args.discordant),
        percent(args.power),
        percent(args.accuracy)
    );
    if let Some(own) = own {
        let margin = match own.margin {
            Some(margin) => {
                format!("the smallest margin that it shows with {} is {}", percent(args.power), points(margin))
            }
            None => format!("no margin is shown with {}", percent(args.power)),
        };
        text += &format!(
            "The evalset of {} has {} samples: the rule passes with a probability of {}; {margin}.\n",
            own.model,
            own.samples,
            percent(own.power)
        );
    }
    text
}

/// Two decimals, without noughts at the end.
fn rounded(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn own_evalset(model: &Model, expected: &Expected, power: f64) -> Result<OwnEvalset> {
    if !matches!(model.task, Task::Classification { .. }) {
        return Err(PlanError::Value {
            file: format!("model '{}'", model.name),
            what: "its task".into(),
            expected: "classification, whose accuracy is a share of samples".into(),
            found: format!("{}, judged by {}", model.task.kind(), model.task.metric()),
        }
        .into());
    }
    let samples = model.evalset.samples;
    Ok(OwnEvalset {
        model: model.name.to_string(),
        samples,
        power: expected.power_paired(samples)?,
        margin: expected.margin_shown_by(samples, power),
    })
}

/// The model by name, or by the path of its folder.
fn model(args: &PowerArgs, name: &str) -> Result<Model> {
    let path = Path::new(name);
    let by_path = path.join("model.toml").is_file();
    let paths: Vec<PathBuf> = if by_path { vec![path.into()] } else { Vec::new() };
    let world = World::read(&args.places, &paths, by_path)?;
    let name = match by_path {
        true => world.models_in(path)?.first().map(ToString::to_string).unwrap_or_default(),
        false => name.to_owned(),
    };
    let known = || boardproof_plan::nearest(&name, world.manifests.keys().map(|known| known.as_str()));
    match world.manifests.iter().find(|(known, _)| known.as_str() == name) {
        Some((_, manifest)) => Ok(manifest.model.clone()),
        None => Err(PlanError::Unknown { kind: "model", found: name.clone(), known: known() }.into()),
    }
}
