use super::*;

fn sim(mode: Mode) -> Sim {
    Sim {
        seed: 0,
        seeds: Some(3),
        minutes: None,
        mode,
        t: 1,
        liars: None,
        check_determinism: false,
        trace: false,
        json: false,
    }
}

#[test]
fn every_mode_runs_and_says_what_it_covered() {
    for mode in <Mode as clap::ValueEnum>::value_variants() {
        let sim = Sim { check_determinism: true, ..sim(*mode) };
        let (coverage, broken) = sim.cover();
        if let Some(broken) = broken {
            panic!("{}", sim.tell(&broken));
        }
        let (text, json) = (coverage.text(), coverage.json(None));
        assert!(text.contains("3 seeds") && text.contains("C0 in the model"), "{text}");
        assert_eq!(json["seeds"], 3);
        assert!(json["answered"].as_u64().unwrap() > 0, "{mode}");
        let fired = json["fired"].as_object().unwrap();
        let expected = match mode {
            Mode::Network => "link broken",
            Mode::Clocks => "wall clock stepped",
            Mode::Pause => "node paused",
            Mode::Crash => "node crashed",
            Mode::Power => "power cut",
            Mode::Random | Mode::Calm | Mode::Liars => continue,
        };
        assert!(fired.contains_key(expected), "{mode}: {fired:?}");
    }
}

#[test]
fn too_many_liars_are_told_and_are_no_failure() {
    let sim = Sim { liars: Some(2), seeds: Some(12), ..sim(Mode::Liars) };
    let (coverage, broken) = sim.cover();
    assert!(broken.is_none());
    let json = coverage.json(None);
    assert_eq!(json["cells"]["C4 too many liars"], 12);
    assert!(json["forked"].as_u64().unwrap() > 0, "the checkers see it: {json}");
}

#[cfg(feature = "plant")]
#[test]
fn a_failure_is_told_with_what_came_before_and_how_to_see_it_again() {
    use crate::types::plant::plant;
    let sim = Sim { liars: Some(0), seeds: Some(20), ..sim(Mode::Calm) };
    plant(Some("o3-order-by-digest"));
    let (_, broken) = sim.cover();
    let broken = broken.expect("a planted bug is found");
    let (told, again) = (sim.tell(&broken), sim.tell(&broken));
    let json = sim.again(broken.seed);
    plant(None);
    assert_eq!(told, again, "it is the same each time");
    assert!(told.contains("uid order: "), "{told}");
    assert!(told.contains("R1: received ") && told.lines().count() > 20, "{told}");
    let seed = broken.seed;
    let command = format!("quorate sim --seed {seed} --seeds 1 --mode calm --t 1 --liars 0");
    assert!(told.ends_with(&command) && json == command, "{told}");
}

#[test]
fn a_panic_in_a_run_is_a_failure_with_a_seed() {
    let options = Options { t: 0, ..Options::named("sim") };
    let Err(broken) = play(7, &options, &mut |_, _, _| {}) else { panic!("t = 0 is no cluster") };
    assert!(broken.seed == 7 && broken.what.starts_with("panic: "), "{}", broken.what);
}
