//! Fetching a checkpoint's files into the hub's cache.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, bail};
use film_core::checkpoint::{CONFIG, INDEX, WEIGHTS, read_json_object, stays_inside};
use hf_hub::api::sync::{ApiBuilder, ApiRepo};
use hf_hub::{Cache, Repo, RepoType};

use super::Reference;
use crate::printer;

/// Fetches config.json and the weights, as far as the cache lacks them.
pub(super) fn fetch(reference: &Reference, cache: &Path) -> Result<()> {
    let mut builder = ApiBuilder::from_cache(Cache::new(cache.into()))
        .with_progress(printer::shows_progress())
        .with_user_agent("film-tools", env!("CARGO_PKG_VERSION"));
    if let Some(endpoint) = variable("HF_ENDPOINT") {
        builder = builder.with_endpoint(endpoint.trim_end_matches('/').into());
    }
    if let Some(token) = variable("HF_TOKEN") {
        builder = builder.with_token(Some(token));
    }
    let repo =
        Repo::with_revision(reference.id.clone(), RepoType::Model, reference.revision.clone());
    let repo = builder.build()?.repo(repo);
    let info = repo.info().context("cannot ask the hub for its files")?;
    let there: BTreeSet<String> = info.siblings.into_iter().map(|file| file.rfilename).collect();
    if there.contains(CONFIG) {
        get(&repo, CONFIG)?;
    }
    if there.contains(WEIGHTS) {
        return get(&repo, WEIGHTS);
    }
    if !there.contains(INDEX) {
        bail!("holds neither {WEIGHTS} nor {INDEX}");
    }
    let path = repo.get(INDEX).with_context(|| format!("cannot fetch {INDEX}"))?;
    let index = read_json_object(&path)?;
    let shards = index.get("weight_map").and_then(|map| map.as_object());
    let shards: BTreeSet<&str> =
        shards.into_iter().flatten().filter_map(|(_, file)| file.as_str()).collect();
    for shard in shards {
        if !there.contains(shard) || !stays_inside(shard) {
            bail!("{INDEX} names {shard}, which is no file of the repository");
        }
        get(&repo, shard)?;
    }
    Ok(())
}

fn get(repo: &ApiRepo, name: &str) -> Result<()> {
    let path = repo.get(name).with_context(|| format!("cannot fetch {name}"))?;
    log::debug!("{name}: {}", path.display());
    Ok(())
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
