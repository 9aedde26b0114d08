//! Finds and reads what people wrote: project file, models, targets, inventory, policy. All opening of such files is here.

use crate::args::{BuilderName, Places};
use anyhow::{Context, Result, bail};
use boardproof_plan::{
    Manifest, PlanError, Project, check_places, parse_inventory, parse_model, parse_policy, parse_project, parse_target,
};
use boardproof_record::plan::{HOST, Target, Unit};
use boardproof_record::policy::Policy;
use boardproof_record::{ModelName, TargetName, UnitName};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Name of the project file.
pub const PROJECT_FILE: &str = "boardproof.toml";

/// Everything that people wrote, parsed.
#[derive(Debug)]
pub struct World {
    /// The project file, when there is one.
    pub project: Option<Project>,
    /// Folder that the project's paths are relative to.
    pub root: PathBuf,
    /// Models by name.
    pub manifests: BTreeMap<ModelName, Manifest>,
    /// Where each was found: the folder without links and dots, so that a model that is reached in two ways is one.
    folders: BTreeMap<PathBuf, ModelName>,
    /// Targets by name: those that come with boardproof and the project's own.
    pub targets: BTreeMap<TargetName, Target>,
    /// Units by name.
    pub units: BTreeMap<UnitName, Unit>,
}

impl World {
    /// Reads project file, targets, inventory, and models: those given by path, and those of `--models` or of the project, which are
    /// needed unless paths say it all.
    pub fn read(places: &Places, model_paths: &[PathBuf], paths_say_all: bool) -> Result<Self> {
        let mut world = Self::read_lab(places)?;
        let mut folders: Vec<PathBuf> = model_paths.to_vec();
        folders.extend(places.models.iter().cloned());
        if places.models.is_empty() && !paths_say_all {
            match &world.project {
                Some(p) => folders.extend(p.models.iter().map(|m| world.root.join(m))),
                None if Path::new("models").is_dir() => folders.push("models".into()),
                None => {}
            }
        }
        for folder in &folders {
            world.add_models(folder)?;
        }
        Ok(world)
    }

    /// Reads the models of a folder, those that are not known yet.
    fn add_models(&mut self, folder: &Path) -> Result<()> {
        for model in model_folders(folder)? {
            let place = without_links(&model)?;
            if self.folders.contains_key(&place) {
                continue;
            }
            let file = model.join("model.toml");
            let manifest = parse_model(&file.display().to_string(), &model.display().to_string(), &read(&file)?)?;
            let name = manifest.model.name.clone();
            if self.manifests.insert(name.clone(), manifest).is_some() {
                bail!("two models are called '{name}'; the second is {}", file.display());
            }
            self.folders.insert(place, name);
        }
        Ok(())
    }

    /// Names of all the models in a folder that was read.
    pub fn models_in(&self, folder: &Path) -> Result<Vec<&ModelName>> {
        let name = |model: &PathBuf| {
            let known = self.folders.get(&without_links(model)?);
            known.with_context(|| format!("the models changed while they were read: {} is new", model.display()))
        };
        model_folders(folder)?.iter().map(name).collect()
    }

    /// Reads one model, by its name or by the path of its folder.
    pub fn read_model(places: &Places, model: &str) -> Result<Manifest> {
        let path = Path::new(model);
        let is_path = model.contains('/') || path.join("model.toml").is_file();
        let paths = if is_path { vec![path.to_path_buf()] } else { Vec::new() };
        let mut world = Self::read(places, &paths, is_path)?;
        let names: Vec<String> = match is_path {
            true => world.models_in(path)?.iter().map(ToString::to_string).collect(),
            false => vec![model.to_owned()],
        };
        let [name] = names.as_slice() else {
            bail!("expected the folder of one model, {} holds {}: {}", path.display(), names.len(), names.join(", "));
        };
        let known: Vec<String> = world.manifests.keys().map(ToString::to_string).collect();
        let found = ModelName::new(name.clone()).ok().and_then(|name| world.manifests.remove(&name));
        found.ok_or_else(|| {
            let known = boardproof_plan::nearest(name, known.iter().map(String::as_str));
            PlanError::Unknown { kind: "model", found: name.clone(), known }.into()
        })
    }

    /// Reads project file, targets and inventory, for what needs no models: a project may have none yet.
    pub fn read_lab(places: &Places) -> Result<Self> {
        let (root, project) = project(places)?;
        let own_targets =
            places.target_folder.clone().or_else(|| Some(root.join(project.as_ref()?.target_folder.as_ref()?)));
        let inventory = places.inventory.clone().or_else(|| Some(root.join(project.as_ref()?.inventory.as_ref()?)));
        let targets = targets(own_targets.as_deref())?;
        let units = inventory.map(|file| read_inventory(&file)).transpose()?.unwrap_or_default();
        check_places(&targets, &units)?;
        Ok(Self { manifests: BTreeMap::new(), folders: BTreeMap::new(), targets, units, project, root })
    }

    /// Puts the builder that was asked for in place of what the targets say. The record shows it as theirs.
    pub fn build_with(&mut self, builder: Option<BuilderName>) {
        let Some(builder) = builder else { return };
        for target in self.targets.values_mut() {
            target.build.builder = builder.into();
        }
    }

    /// The policy asked for, else the project's, else the default.
    pub fn policy(&self, asked: Option<&str>) -> Result<Policy> {
        match (asked, &self.project) {
            (Some(asked), _) => read_policy(asked, Path::new("")),
            (None, Some(project)) => read_policy(&project.policy, &self.root),
            (None, None) => read_policy("default", Path::new("")),
        }
    }
}

/// A policy by file, or the one that comes with boardproof.
pub fn read_policy(asked: &str, root: &Path) -> Result<Policy> {
    if asked == "default" {
        return Ok(parse_policy("the default policy", boardproof_plan::builtin::POLICY)?);
    }
    let file = root.join(asked);
    Ok(parse_policy(&file.display().to_string(), &read(&file)?)?)
}

fn project(places: &Places) -> Result<(PathBuf, Option<Project>)> {
    let here = PathBuf::from(PROJECT_FILE);
    let file = match &places.project {
        Some(file) => file.clone(),
        None if here.is_file() => here,
        None => return Ok((PathBuf::new(), None)),
    };
    let project = parse_project(&file.display().to_string(), &read(&file)?)?;
    Ok((file.parent().map(Path::to_path_buf).unwrap_or_default(), Some(project)))
}

/// The folder itself, or the folders in it that hold a `model.toml`, by name; one at least.
fn model_folders(folder: &Path) -> Result<Vec<PathBuf>> {
    if folder.join("model.toml").is_file() {
        // Without a slash at its end: paths of files are made of it.
        return Ok(vec![folder.components().collect()]);
    }
    if !folder.is_dir() {
        let what = format!("there is no folder '{}'", folder.display());
        return Err(PlanError::Empty(what).into());
    }
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("could not look for models in {}", folder.display()))?;
    let mut found: Vec<_> = entries.flatten().map(|e| e.path()).filter(|p| p.join("model.toml").is_file()).collect();
    if found.is_empty() {
        let what = format!("no model.toml in '{}' nor in a folder of it", folder.display());
        return Err(PlanError::Empty(what).into());
    }
    found.sort();
    Ok(found)
}

fn without_links(folder: &Path) -> Result<PathBuf> {
    folder.canonicalize().with_context(|| format!("could not find {}", folder.display()))
}

fn targets(own: Option<&Path>) -> Result<BTreeMap<TargetName, Target>> {
    let mut all = BTreeMap::new();
    for (name, text) in boardproof_plan::builtin::TARGETS {
        let target = parse_target(&format!("targets/{name}.toml"), text)?;
        all.insert(target.name.clone(), target);
    }
    let Some(folder) = own else { return Ok(all) };
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("could not look for targets in {}", folder.display()))?;
    let is_target = |path: &PathBuf| {
        path.extension().is_some_and(|e| e == "toml")
            && !path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("inventory"))
    };
    let mut own = BTreeMap::new();
    for path in entries.flatten().map(|e| e.path()).filter(is_target) {
        let file = path.display().to_string();
        let target = parse_target(&file, &read(&path)?)?;
        let name = target.name.clone();
        let found = format!("'{name}'");
        let refuse = |expected: &str| PlanError::Value {
            file: file.clone(),
            what: "target.name".into(),
            expected: expected.into(),
            found: found.clone(),
        };
        if name.as_str() == HOST {
            return Err(refuse("another name (this one is boardproof's own, of the machine that it runs on)").into());
        }
        if own.insert(name, target).is_some() {
            return Err(refuse("a name that no other file of the folder has").into());
        }
    }
    all.extend(own);
    Ok(all)
}

fn read_inventory(file: &Path) -> Result<BTreeMap<UnitName, Unit>> {
    Ok(parse_inventory(&file.display().to_string(), &read(file)?)?)
}

/// What people wrote and named: that it cannot be read is theirs to mend.
fn read(file: &Path) -> Result<String, PlanError> {
    std::fs::read_to_string(file).map_err(|source| PlanError::Unreadable { file: file.display().to_string(), source })
}
