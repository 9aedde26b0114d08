//! Finds and reads what people wrote: project file, models, targets, inventory, policy. All opening of such files is here.

use crate::args::{BuilderName, Places};
use anyhow::{Context, Result, bail};
use boardproof_plan::{Manifest, Project, parse_inventory, parse_model, parse_policy, parse_project, parse_target};
use boardproof_record::plan::{Target, Unit};
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
    /// Targets by name: those that come with boardproof and the project's own.
    pub targets: BTreeMap<TargetName, Target>,
    /// Units by name.
    pub units: BTreeMap<UnitName, Unit>,
}

impl World {
    /// Reads project file, targets, inventory, and the models of the project, of `--models`, and those given by path.
    pub fn read(places: &Places, model_paths: &[PathBuf]) -> Result<Self> {
        let mut world = Self::read_lab(places)?;
        let (root, project) = (&world.root, &world.project);
        let mut folders: Vec<PathBuf> = places.models.clone();
        folders.extend(model_paths.iter().cloned());
        if folders.is_empty() {
            match project {
                Some(p) => folders.extend(p.models.iter().map(|m| root.join(m))),
                None if Path::new("models").is_dir() => folders.push("models".into()),
                None => {}
            }
        }
        world.manifests = manifests(&folders)?;
        Ok(world)
    }

    /// Reads project file, targets and inventory, for what needs no models: a project may have none yet.
    pub fn read_lab(places: &Places) -> Result<Self> {
        let (root, project) = project(places)?;
        let own_targets =
            places.target_folder.clone().or_else(|| Some(root.join(project.as_ref()?.target_folder.as_ref()?)));
        let inventory = places.inventory.clone().or_else(|| Some(root.join(project.as_ref()?.inventory.as_ref()?)));
        Ok(Self {
            manifests: BTreeMap::new(),
            targets: targets(own_targets.as_deref())?,
            units: inventory.map(|file| read_inventory(&file)).transpose()?.unwrap_or_default(),
            project,
            root,
        })
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

fn manifests(folders: &[PathBuf]) -> Result<BTreeMap<ModelName, Manifest>> {
    let mut all = BTreeMap::new();
    for folder in folders {
        let found = model_folders(folder)?;
        if found.is_empty() {
            let what = format!("no model.toml in '{}' nor in a folder of it", folder.display());
            return Err(boardproof_plan::PlanError::Empty(what).into());
        }
        for model in found {
            let file = model.join("model.toml");
            let manifest = parse_model(&file.display().to_string(), &model.display().to_string(), &read(&file)?)?;
            let name = manifest.model.name.clone();
            if all.insert(name.clone(), manifest).is_some() {
                bail!("two models are called '{name}'; the second is {}", file.display());
            }
        }
    }
    Ok(all)
}

/// The folder itself, or the folders in it that hold a `model.toml`, by name.
fn model_folders(folder: &Path) -> Result<Vec<PathBuf>> {
    if folder.join("model.toml").is_file() {
        return Ok(vec![folder.to_path_buf()]);
    }
    if !folder.is_dir() {
        let what = format!("there is no folder '{}'", folder.display());
        return Err(boardproof_plan::PlanError::Empty(what).into());
    }
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("could not look for models in {}", folder.display()))?;
    let mut found: Vec<_> = entries.flatten().map(|e| e.path()).filter(|p| p.join("model.toml").is_file()).collect();
    found.sort();
    Ok(found)
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
    for path in entries.flatten().map(|e| e.path()).filter(is_target) {
        let target = parse_target(&path.display().to_string(), &read(&path)?)?;
        all.insert(target.name.clone(), target);
    }
    Ok(all)
}

fn read_inventory(file: &Path) -> Result<BTreeMap<UnitName, Unit>> {
    Ok(parse_inventory(&file.display().to_string(), &read(file)?)?)
}

fn read(file: &Path) -> Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("could not read {}", file.display()))
}
