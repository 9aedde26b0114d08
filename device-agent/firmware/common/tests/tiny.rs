//! MLPerf Tiny's text on the line of our frames.

mod rig;

use boardproof_protocol::{Pass, Request};
use rig::{Rig, adder, rooms};

fn say(rig: &mut Rig<'_>, command: &str) -> String {
    rig.state.borrow_mut().now += 100;
    let (out, _) = rig.feed(command.as_bytes());
    String::from_utf8(out).unwrap()
}

#[test]
fn a_runner_of_texts_scores_the_model_that_was_uploaded() {
    let mut rooms = rooms();
    let mut rig = Rig::new(&mut rooms);
    rig.open();
    rig.upload(&adder(8, [3, 0], 32));
    rig.upload(&[1; 80]);
    assert_eq!(rig.say(&Request::Bye), "Bye");
    assert_eq!(say(&mut rig, "name%"), "m-name-dut-[boardproof]\r\nm-ready\r\n");
    assert_eq!(say(&mut rig, "results%"), "m-results-[]\r\nm-ready\r\n");
    assert_eq!(say(&mut rig, "db load 8%"), "m-[Expecting 8 bytes]\r\nm-ready\r\n");
    assert_eq!(say(&mut rig, "db 0005ff0304050607%"), "m-load-done\r\nm-ready\r\n");
    let answer = say(&mut rig, "infer 2 1%");
    // In, one more, less the zero point of 2, by a half. Two inferences of 4 ticks of a millisecond.
    let laps: Vec<u32> =
        answer.lines().filter_map(|line| line.strip_prefix("m-lap-us-")).map(|lap| lap.parse().unwrap()).collect();
    assert_eq!(laps[1] - laps[0], 8000, "{answer}");
    assert!(answer.ends_with("m-results-[-0.500,2.000,-1.000]\r\nm-ready\r\n"), "{answer}");
    assert_eq!(say(&mut rig, "results%"), "m-results-[-0.500,2.000,-1.000]\r\nm-ready\r\n");
    assert_eq!(rig.state.borrow().inferences, 3);
}

#[test]
fn what_cannot_be_done_is_said_and_frames_go_on_as_before() {
    let mut rooms = rooms();
    let mut rig = Rig::new(&mut rooms);
    say(&mut rig, "name%");
    say(&mut rig, "db load 2%");
    say(&mut rig, "db 0102%");
    assert!(say(&mut rig, "infer 1 0%").contains("e-[no model was uploaded]"));
    rig.feed(&[0]);
    rig.open();
    let model = rig.upload(&adder(8, [3, 0], 32));
    let samples = rig.upload(&[1; 80]);
    say(&mut rig, "name%");
    let refused = say(&mut rig, "infer 1 0%");
    assert!(refused.contains("e-[the sample is not as long as the model's inputs]"), "{refused}");
    rig.feed(&[0]);
    let run = rig.order(1, Pass::Accuracy, model, samples, 10);
    rig.say(&Request::Run(run));
    say(&mut rig, "name%");
    assert!(say(&mut rig, "infer 1 0%").contains("e-[a job is running]"));
    rig.feed(&[0]);
    assert_eq!(rig.follow(1).0.last().unwrap(), "Ended(Completed)");
    assert!(rig.say(&Request::Clean { epoch: rig::EPOCH }).starts_with("Cleaned"));
}
