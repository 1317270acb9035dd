//! What a node does before it serves: loads the dump file on another thread, puts the data in place, follows its master.

use std::rc::Rc;

use futures::channel::oneshot;
use slog::{error, info};

use crate::actor::{NodeFailure, Shell};
use crate::command::{Loading, NodeState, Request};
use crate::keyspace::{DbIndex, UnixMs};
use crate::persistence;
use crate::rdb::{LoadError, LoadOptions, Loaded};
use crate::replication::{ReplId, ReplOffset, Role};

/// Loads the dump file on another thread, aside; clients are told LOADING until it is in place.
pub(super) fn begin_load(shell: &Rc<Shell>) {
    let mut guard = shell.state.borrow_mut();
    let state = &mut *guard;
    let left = persistence::remove_leftovers(&*state.env.disk, &state.config.dir);
    if left > 0 {
        info!(state.log, "Removed temporary files of a process that has ended"; "files" => left);
    }
    let path = state.config.dir.join(&state.config.dbfilename);
    let total_bytes = state.env.disk.open(&path).and_then(|file| file.size()).unwrap_or(0);
    if total_bytes == 0 && !state.env.disk.exists(&path) {
        drop(guard);
        return finish_start(shell);
    }
    state.loading = Some(Loading { started_unix: state.now_ms / 1000, total_bytes, ..Loading::default() });
    let mut options = LoadOptions::new(state.keyspace.databases(), state.keyspace.hash_seed());
    options.checksum = state.config.rdbchecksum;
    options.access = state.access_when_loading();
    options.limits = state.config.limits;
    options.drop_expired_at = matches!(state.role, Role::Master).then_some(UnixMs(state.now_ms));
    let (sender, receiver) = oneshot::channel();
    let (env, log, clock) = (state.env.clone(), state.log.clone(), state.env.clock.clone());
    let job = move || {
        let mut told_ns = clock.monotonic_ns();
        let mut progress = |at: crate::rdb::Progress| {
            if clock.monotonic_ns() - told_ns > 1_000_000_000 {
                told_ns = clock.monotonic_ns();
                info!(log, "Loading RDB"; "bytes" => at.bytes, "of" => total_bytes, "keys" => at.keys);
            }
            std::ops::ControlFlow::Continue(())
        };
        let _ = sender.send(persistence::load_file(&*env.disk, &path, &options, &mut progress));
    };
    let spawned = state.env.spawner.spawn_job("load", Box::new(job));
    drop(guard);
    if let Err(error) = spawned {
        return shell.stop(Some(NodeFailure::Thread(error.to_string())));
    }
    let shell = shell.clone();
    actix_rt::spawn(async move {
        match receiver.await {
            Ok(Ok(loaded)) => {
                let placed = loaded.map_or(Ok(()), |loaded| put_in_place(&mut shell.state.borrow_mut(), loaded));
                match placed {
                    Ok(()) => finish_start(&shell),
                    Err(error) => load_failed(&shell, error),
                }
            }
            Ok(Err(error)) => load_failed(&shell, error),
            Err(_) => shell.stop(Some(NodeFailure::Panic("the loader of the dump file has ended without a result".to_owned()))),
        }
    });
}

fn load_failed(shell: &Shell, error: LoadError) {
    let failure = NodeFailure::Load(error.to_string());
    error!(shell.state.borrow().log, "{failure}");
    shell.stop(Some(failure));
}

/// The loaded data becomes the node's, and its slaves, or the slave that it is, can go on from where the file says that it was.
fn put_in_place(state: &mut NodeState, loaded: Loaded) -> Result<(), LoadError> {
    state.tick();
    state.put_in_place(loaded.keyspace, &loaded.libraries)?;
    (state.save.last_load_keys, state.save.last_load_expired) = (loaded.keys_loaded, loaded.keys_expired);
    info!(state.log, "DB loaded from disk"; "keys" => loaded.keys_loaded, "expired" => loaded.keys_expired, "bytes" => loaded.bytes);
    let known = loaded.aux.repl_id.as_deref().and_then(|id| ReplId::parse(id.as_bytes()));
    let offset = loaded.aux.repl_offset.and_then(|offset| u64::try_from(offset).ok());
    let db = loaded.aux.repl_stream_db.and_then(|db| u32::try_from(db).ok());
    let (Some(replid), Some(offset)) = (known, offset) else { return Ok(()) };
    match &mut state.role {
        // What was written after the file is lost, so the history goes on under another name: slaves that have more of the old one start over.
        Role::Master => {
            let new_id = ReplId::random(&*state.env.random);
            state.stream.adopt(replid, ReplOffset(offset));
            state.stream.shift_id(new_id);
            info!(state.log, "Replicas can continue from the file"; "replid" => replid.as_str(), "offset" => offset);
        }
        Role::Replica(link) => {
            if let Some(db) = db.filter(|db| *db < state.config.databases) {
                link.cached = Some((replid, ReplOffset(offset)));
                link.stream_db = Some(DbIndex(db));
                state.stream.adopt(replid, ReplOffset(offset));
            }
        }
    }
    Ok(())
}

/// Everything is in place: serve, and follow the master if there is one.
pub(super) fn finish_start(shell: &Rc<Shell>) {
    {
        let mut state = shell.state.borrow_mut();
        state.tick();
        state.loading = None;
        state.save.last_save_unix = state.now_ms / 1000;
        if matches!(state.role, Role::Replica(_)) {
            state.requests.push(Request::Follow);
        }
        info!(state.log, "Ready to accept connections"; "port" => state.tcp_port);
    }
    shell.notify_loaded();
    shell.wake();
}
