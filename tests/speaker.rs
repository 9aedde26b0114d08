//! A board that speaks MLPerf Tiny with a real model inside, behind a socket: the device side of the protocol and the engine of
//! microcontrollers, as a firmware puts them together, and what can go wrong with one.

use crate::tool::{Home, root};
use boardproof_compile::{Edges, compile};
use boardproof_micro::{Dtype, Model, dequantize};
use boardproof_tiny::{Dut, Tiny};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

/// What the board calls its model.
pub const INSIDE: &str = "digits";
/// The unit in the inventory.
pub const UNIT: &str = "bench";
/// Bytes of its largest sample.
const BUFFER: usize = 1024;

/// What is wrong with a board.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing.
    None,
    /// Its answers are in the wrong order.
    WrongAnswers,
    /// It hangs up in the middle of this inference.
    DiesAt(u32),
    /// It refuses from this inference on.
    RefusesAt(u32),
    /// Its clock counts one microsecond where sixteen pass.
    SlowClock,
}

struct Board {
    model: Model<'static>,
    arena: Vec<u8>,
    buffer: Vec<u8>,
    trouble: Trouble,
    inferences: u32,
    dead: bool,
    since: Instant,
}

impl Board {
    fn new(variant: &str, trouble: Trouble) -> Self {
        let file = root().join("models/mnist_dscnn").join(format!("{variant}.onnx"));
        let onnx = std::fs::read(file).expect("a variant of the repository");
        // As long as the process: a firmware has its model in flash.
        let bytes = compile(&onnx, Edges::HostQuantizes).expect("an integer model").bytes.leak();
        let model = Model::check(bytes).expect("a good model");
        let (arena, buffer) = (vec![0; model.arena_bytes()], vec![0; BUFFER]);
        Self { model, arena, buffer, trouble, inferences: 0, dead: false, since: Instant::now() }
    }
}

impl Dut for Board {
    fn vendor(&self) -> &str {
        "somebody else"
    }

    fn model(&self) -> &str {
        INSIDE
    }

    fn buffer(&mut self) -> &mut [u8] {
        &mut self.buffer
    }

    fn load(&mut self, bytes: usize) -> Result<(), &'static str> {
        let place = self.arena.get_mut(self.model.input(0).range()).ok_or("no input")?;
        if bytes != place.len() {
            return Err("the sample is not as long as the input");
        }
        place.copy_from_slice(&self.buffer[..bytes]);
        Ok(())
    }

    fn infer(&mut self) -> Result<(), &'static str> {
        self.inferences += 1;
        match self.trouble {
            Trouble::DiesAt(at) if at == self.inferences => self.dead = true,
            Trouble::RefusesAt(at) if at <= self.inferences => return Err("out of memory"),
            _ => {}
        }
        self.model.run(&mut self.arena).map_err(|_| "the engine gave up")
    }

    fn outputs(&self) -> usize {
        self.model.output(0).elements()
    }

    fn output(&self, index: usize) -> f32 {
        let output = self.model.output(0);
        let index = if self.trouble == Trouble::WrongAnswers { output.elements() - 1 - index } else { index };
        let bytes = &self.arena[output.range()];
        match output.dtype {
            Dtype::F32 => f32::from_le_bytes(bytes.as_chunks().0[index]),
            Dtype::I8 => dequantize(bytes[index] as i8, output.scale, output.zero_point),
        }
    }

    fn now_us(&mut self) -> u32 {
        let us = self.since.elapsed().as_micros();
        // From 0.1 s before the end of its range: it wraps in every test.
        (u32::MAX - 100_000).wrapping_add(if self.trouble == Trouble::SlowClock { us / 16 } else { us } as u32)
    }
}

/// Plays the board until the other side hangs up, or it dies.
fn play(board: &mut Board, mut line: TcpStream) {
    let mut tiny = Tiny::new();
    let mut piece = [0; 512];
    while let Ok(count @ 1..) = line.read(&mut piece) {
        let mut answer = Vec::new();
        for byte in &piece[..count] {
            tiny.push(*byte, board, &mut |bytes| answer.extend_from_slice(bytes));
        }
        if board.dead {
            board.dead = false;
            // In the middle of its answer.
            answer.truncate(answer.len() / 2);
            let _ = line.write_all(&answer);
            return;
        }
        if line.write_all(&answer).is_err() {
            return;
        }
    }
}

/// Starts a board with this variant inside and writes its target and inventory into the home. It serves one host after the other.
pub fn start(home: &Home, variant: &str, trouble: Trouble) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port of this machine");
    let port = listener.local_addr().expect("it listens").port();
    let mut board = Board::new(variant, trouble);
    std::thread::spawn(move || {
        for line in listener.incoming().flatten() {
            let _ = line.set_nodelay(true);
            play(&mut board, line);
        }
    });
    write(home, INSIDE, &format!("tcp:127.0.0.1:{port}"), false);
}

/// Writes target and inventory for a board that calls its model so.
pub fn write(home: &Home, model: &str, address: &str, emulated: bool) {
    std::fs::create_dir_all(home.path("targets")).expect("could not make a folder");
    let target = format!(
        "schema = 1\n\n[target]\nname = \"inside\"\nsummary = \"a firmware of somebody else\"\narchitecture = \"arm\"\n\
         proved = false\nproved_note = \"a test\"\nemulated = {emulated}\n\n[dialect]\nspeaks = \"mlperf-tiny\"\nmodel = \"{model}\"\n\n\
         [link]\nkind = \"serial\"\nbaud = 115200\n\n[limits]\npass_deadline_s = 300\n"
    );
    std::fs::write(home.path("targets/inside.toml"), target).expect("could not write the target");
    let unit = format!("schema = 1\n\n[[unit]]\nname = \"{UNIT}\"\ntarget = \"inside\"\naddress = \"{address}\"\n");
    std::fs::write(home.path("inventory.toml"), unit).expect("could not write the inventory");
}
