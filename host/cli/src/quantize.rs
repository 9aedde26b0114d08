//! `quantize`: ranges from calibration data, the 8-bit variant, its check by the policy on the unit, and the search for the layers that have
//! to stay in float. What a quantized model is, and which set to try next, is `boardproof-quantize`'s; whether one passes is the judge's.

mod attempt;
mod calibrate;
mod entry;
mod rank;
mod told;

use crate::args::{ActivationName, CheckArgs, GranularityName, QuantizeArgs};
use crate::exit::Exit;
use crate::list::print_json;
use crate::out::put;
use crate::project::World;
use crate::run::{check_variant, out_folder, read_world};
use anyhow::{Context, Result};
use attempt::{Attempt, Stopped};
use boardproof_lab::interrupt::{interrupted, listen};
use boardproof_lab::store::RecordFolder;
use boardproof_plan::{Manifest, PlanError, nearest, runner_engine};
use boardproof_quantize::{Activation, Found, Granularity, Network, Search, Settings};
use boardproof_record::plan::{HOST, Variant};
use boardproof_record::policy::Policy;
use boardproof_record::verdict::Verdict;
use boardproof_record::{EngineName, VariantName};
use calibrate::Calibrated;
use rank::Ranked;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use told::{Outcome, Told};

/// Quantizes a model, checks it and searches.
pub fn quantize(args: &QuantizeArgs) -> Result<Exit> {
    listen().context("could not listen for Ctrl-C")?;
    let (job, folder) = Job::of(args)?;
    let calibrated = calibrate::calibrate(&job, &folder)?;
    let mut work = Work { job: &job, folder, calibrated, attempts: Vec::new(), ranking: Vec::new() };
    let outcome = match args.checking.no_check {
        true => Outcome::NotChecked,
        false => work.checked()?,
    };
    if interrupted() {
        return Ok(Exit::Interrupted);
    }
    work.finished(outcome)
}

/// What was asked for, looked up.
struct Job<'a> {
    args: &'a QuantizeArgs,
    world: World,
    manifest: Manifest,
    /// The float model.
    network: Network,
    settings: Settings,
    /// Layers that stay in float whatever comes.
    left: BTreeSet<usize>,
    /// Name of the variant.
    name: VariantName,
    /// File to write.
    file: PathBuf,
    place: String,
    engine: Option<EngineName>,
    policy: Policy,
}

impl<'a> Job<'a> {
    fn of(args: &'a QuantizeArgs) -> Result<(Self, RecordFolder)> {
        let check = check_args(args);
        let (world, named) = read_world(&check)?;
        let names: Vec<&String> = named.alone.iter().chain(&named.in_folders).collect();
        let [name] = names.as_slice() else {
            let found = format!("{}: {}", names.len(), names.iter().map(|n| n.as_str()).collect::<Vec<_>>().join(", "));
            return Err(PlanError::value("command line", "MODEL", "the folder of one model", found).into());
        };
        let found = world.manifests.values().find(|m| m.model.name.as_str() == name.as_str());
        let known = || nearest(name, world.manifests.keys().map(|known| known.as_str()));
        let unknown = || PlanError::Unknown { kind: "model", found: (*name).clone(), known: known() };
        let manifest = found.ok_or_else(unknown)?.clone();
        let (name, file) = target_file(args, &manifest)?;
        let network = network(&manifest)?;
        let checking = &args.checking;
        let place = checking.target.clone().or_else(|| checking.unit.clone());
        let job = Self {
            args,
            left: left(&args.how.leave, &network)?,
            settings: settings(args),
            network,
            name,
            file,
            place: place.unwrap_or_else(|| HOST.into()),
            engine: checking.engine.as_deref().map(runner_engine).transpose()?,
            policy: world.policy(checking.policy.as_deref())?,
            manifest,
            world,
        };
        // Where it is to be checked must be known before anything is run.
        boardproof_plan::locate(&job.place, &job.world.targets, &job.world.units)?;
        let folder = RecordFolder::create(&checking.record.clone().unwrap_or_else(|| out_folder(&check, &job.world)))?;
        Ok((job, folder))
    }

    fn reference(&self) -> &Variant {
        &self.manifest.model.variants[&self.manifest.model.reference]
    }

    fn layer_names(&self, layers: &BTreeSet<usize>) -> Vec<String> {
        layers.iter().map(|layer| self.network.layers[*layer].tensor.clone()).collect()
    }

    fn say(&self, line: std::fmt::Arguments<'_>) {
        if !self.args.quiet {
            eprintln!("{line}");
        }
    }
}

fn network(manifest: &Manifest) -> Result<Network> {
    let reference = &manifest.model.variants[&manifest.model.reference];
    check_variant(reference)?;
    if let Some(batch) = reference.batch.filter(|batch| *batch != 1) {
        let what = format!("variant {} batch", reference.name);
        let expected = "\"N\" or 1: ranges are taken one sample at a time";
        return Err(PlanError::value(&format!("model.toml of '{}'", manifest.model.name), what, expected, batch).into());
    }
    let bytes =
        std::fs::read(&reference.file).with_context(|| format!("could not read model file {}", reference.file))?;
    Network::read(&bytes).with_context(|| format!("could not quantize {}/{}", manifest.model.name, reference.name))
}

fn settings(args: &QuantizeArgs) -> Settings {
    Settings {
        granularity: match args.how.granularity {
            GranularityName::Tensor => Granularity::Tensor,
            GranularityName::Channel => Granularity::Channel,
        },
        activation: match args.how.activations {
            ActivationName::Int8 => Activation::Int8,
            ActivationName::Uint8 => Activation::Uint8,
        },
    }
}

fn left(asked: &[String], network: &Network) -> Result<BTreeSet<usize>> {
    let find = |name: &String| {
        let known = || nearest(name, network.layers.iter().map(|layer| layer.tensor.as_str()));
        network.find(name).ok_or_else(|| PlanError::Unknown { kind: "layer", found: name.clone(), known: known() })
    };
    let left: BTreeSet<usize> = asked.iter().map(find).collect::<Result<_, _>>()?;
    if left.len() == network.layers.len() {
        return Err(PlanError::value("command line", "--leave", "a layer or more to quantize", "all of them").into());
    }
    Ok(left)
}

/// Name and file of the variant, neither of them taken.
fn target_file(args: &QuantizeArgs, manifest: &Manifest) -> Result<(VariantName, PathBuf)> {
    let model = &manifest.model;
    let folder = Path::new(&model.variants[&model.reference].file).parent().unwrap_or(Path::new(""));
    let name = args.name.clone().unwrap_or_else(|| "int8".into());
    let name = VariantName::new(name).map_err(|source| PlanError::Name { file: "command line".into(), source })?;
    let taken =
        |what: &str, found: String| Err(PlanError::value("command line", what, "one that is not taken", found).into());
    if model.variants.contains_key(&name) {
        return taken("--name", format!("variant '{name}' of model '{}'", model.name));
    }
    let file = args.out.clone().unwrap_or_else(|| folder.join(format!("{name}.onnx")));
    // One file has many spellings, and --force must never reach another variant's.
    let place = |file: &Path| file.canonicalize().ok();
    let is_variants = |known: &Variant| place(Path::new(&known.file)).is_some_and(|known| place(&file) == Some(known));
    if model.variants.values().any(is_variants) {
        return taken("--out", format!("{}, the file of another variant", file.display()));
    }
    if file.exists() && !args.force {
        return taken("--out (or --force to overwrite it)", format!("{}, which is there", file.display()));
    }
    Ok((name, file))
}

/// What is under way.
struct Work<'a> {
    job: &'a Job<'a>,
    folder: RecordFolder,
    calibrated: Calibrated,
    /// Every check, in the order in which they were made.
    attempts: Vec<Attempt>,
    /// Layers by what each costs alone, the worst first; empty where nothing was searched.
    ranking: Vec<Ranked>,
}

impl Work<'_> {
    fn model(&self, left: &BTreeSet<usize>) -> Result<Vec<u8>> {
        let bytes = self.job.network.quantized(&self.calibrated.ranges, self.job.settings, left);
        bytes.with_context(|| format!("could not quantize {}", self.job.manifest.model.name))
    }

    fn attempt(&mut self, what: &str, left: &BTreeSet<usize>) -> Result<Attempt> {
        let bytes = self.model(left)?;
        let attempt = attempt::attempt(self.job, &self.folder, what, left, &bytes)?;
        self.job.say(format_args!("{what}: {}", attempt.in_words()));
        self.attempts.push(attempt.clone());
        Ok(attempt)
    }

    /// Checks the fully quantized model, and searches where leaving layers in float may help.
    fn checked(&mut self) -> Result<Outcome> {
        let left = self.job.left.clone();
        let first = self.attempt("check-0", &left)?;
        if let Some(outcome) = self.without_search(&first)? {
            return Ok(outcome);
        }
        self.ranking = rank::rank(self.job, &self.folder, &self.calibrated.ranges, self.calibrated.samples)?;
        self.search()
    }

    /// Why nothing is to be searched, if so.
    fn without_search(&self, first: &Attempt) -> Result<Option<Outcome>> {
        let stopped = match first.verdict {
            Verdict::Pass => return Ok(Some(Outcome::Passed { left: first.left.clone() })),
            Verdict::Incomplete => Some(Stopped::Incomplete),
            _ if first.keeps_answers => Some(Stopped::OnlyCost),
            _ if attempt::has_no_floats(self.job)? => Some(Stopped::NoFloats),
            _ if self.job.args.checking.no_search => Some(Stopped::NotAsked),
            _ => None,
        };
        let stopped = if interrupted() { Some(Stopped::Interrupted) } else { stopped };
        Ok(stopped.map(|why| Outcome::Stopped { why, left: first.left.clone() }))
    }

    fn search(&mut self) -> Result<Outcome> {
        let order = self.ranking.iter().map(|ranked| ranked.layer).collect();
        let mut search = Search::new(order, self.job.args.checking.attempts);
        let mut tried = 0;
        while let Some(set) = search.next_set() {
            tried += 1;
            let left = self.with_asked(&set);
            let attempt = self.attempt(&format!("check-{tried}"), &left)?;
            if interrupted() || attempt.verdict == Verdict::Incomplete {
                let why = if interrupted() { Stopped::Interrupted } else { Stopped::Incomplete };
                return Ok(Outcome::Stopped { why, left: attempt.left });
            }
            search.answer(attempt.keeps_answers);
        }
        let (set, is_least) = match search.found() {
            Found::Least(set) => (set, true),
            Found::Passing(set) => (set, false),
            Found::Nothing => return Ok(Outcome::Nothing { left: self.job.left.clone() }),
            Found::Spent => return Ok(Outcome::Stopped { why: Stopped::Spent, left: self.job.left.clone() }),
        };
        let left = self.with_asked(&set);
        // The attempt that passed was one of several: what is told is what another one says.
        let confirmed = self.attempt("confirmation", &left)?;
        Ok(Outcome::Repaired { verdict: confirmed.verdict, keeps_answers: confirmed.keeps_answers, is_least, left })
    }

    fn with_asked(&self, set: &BTreeSet<usize>) -> BTreeSet<usize> {
        self.job.left.union(set).copied().collect()
    }

    /// Writes the model, tells what became of it, and adds it where that was asked for.
    fn finished(self, outcome: Outcome) -> Result<Exit> {
        let job = self.job;
        let left = outcome.left().unwrap_or(&job.left).clone();
        let bytes = self.model(&left)?;
        std::fs::write(&job.file, &bytes).with_context(|| format!("could not write {}", job.file.display()))?;
        let entry = entry::entry(job, &self.calibrated, &left, &bytes);
        let exit = outcome.exit(self.attempts.last());
        let added = job.args.add && exit == Exit::Pass;
        if added {
            entry::add(job, &entry)?;
        }
        let told = Told::of(&self, &outcome, &bytes, added);
        self.folder.keep("quantize.json", serde_json::to_string_pretty(&told)?.as_bytes())?;
        if job.args.json {
            print_json(&serde_json::to_value(&told)?)?;
        } else {
            put(told.in_words());
            if !added {
                put(format_args!("\nfor model.toml:\n\n{entry}"));
            }
        }
        job.say(format_args!("wrote {}; measured in {}", job.file.display(), self.folder.path().display()));
        Ok(exit)
    }
}

/// What measuring asks of the command line besides the plan.
fn check_args(args: &QuantizeArgs) -> CheckArgs {
    let checking = args.checking.clone();
    CheckArgs {
        model: vec![args.model.clone()],
        variant: Vec::new(),
        target: Vec::new(),
        unit: Vec::new(),
        engine: Vec::new(),
        policy: checking.policy,
        out: None,
        baseline: None,
        against: None,
        layout: None,
        places: args.places.clone(),
        builder: checking.builder,
        early_stop: false,
        samples: checking.samples,
        iterations: checking.iterations,
        crash: None,
        wait: checking.wait,
        explain: false,
        no_reference_cache: false,
        json: args.json,
        quiet: args.quiet,
    }
}
