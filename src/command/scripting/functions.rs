//! The libraries of functions of a node: loading one, deleting it, finding a function. The stream gets the commands as they came, a snapshot the
//! libraries' texts (`libraries`, `load_library`).

use std::collections::BTreeMap;
use std::rc::Rc;

use super::super::{CommandError, NodeState};
use super::ScriptFlags;
use super::run::LibraryHost;
use crate::script::{BAD_NAME, Interpreter, Script, is_good_name};
use crate::types::split::split;

const CHUNK: &str = "user_function";

pub(super) struct Function {
    pub name: Vec<u8>,
    pub script: Script,
    pub description: Option<Vec<u8>>,
    pub flags: ScriptFlags,
}

pub(super) struct Library {
    pub code: Vec<u8>,
    /// In the order of their names, so that nothing depends on how they were registered.
    pub functions: Vec<Function>,
}

/// Everything about functions that a node keeps.
#[derive(Default)]
pub struct Functions {
    pub(super) interpreter: Option<Rc<Interpreter>>,
    pub(super) libraries: BTreeMap<Vec<u8>, Library>,
    /// The libraries of functions by their names in lower case: they are called in any case.
    by_name: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// The first line of a library: its name, and where the code behind it begins.
fn metadata(code: &[u8]) -> Result<(Vec<u8>, usize), CommandError> {
    const INVALID: CommandError = CommandError::text("ERR Invalid library metadata");
    if !code.starts_with(b"#!") {
        return Err("ERR Missing library metadata".into());
    }
    let end = memchr::memchr(b'\n', code).ok_or(INVALID)?;
    let words = split(&code[..end]).map_err(|_| INVALID)?;
    let (engine, options) = words.split_first().ok_or(INVALID)?;
    let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut name = None;
    for option in options {
        let given = option.get(..5).filter(|word| word.eq_ignore_ascii_case(b"name="));
        if given.is_none() {
            return Err(format!("ERR Invalid metadata value given: {}", shown(option)).into());
        }
        if name.replace(option[5..].to_vec()).is_some() {
            return Err("ERR Invalid metadata value, name argument was given multiple times".into());
        }
    }
    let name = name.ok_or(CommandError::text("ERR Library name was not given"))?;
    if !is_good_name(&name) {
        return Err(BAD_NAME.into());
    }
    let engine = &engine[2..];
    if !engine.eq_ignore_ascii_case(b"lua") {
        return Err(format!("ERR Engine '{}' not found", shown(engine)).into());
    }
    Ok((name, end))
}

impl Functions {
    /// The texts of all libraries, for a snapshot.
    pub fn libraries(&self) -> impl Iterator<Item = &[u8]> {
        self.libraries.values().map(|library| &library.code[..])
    }
    pub fn libraries_len(&self) -> usize {
        self.libraries.len()
    }
    pub fn functions_len(&self) -> usize {
        self.by_name.len()
    }
    /// What the interpreter holds.
    pub fn interpreter_bytes(&self) -> usize {
        self.interpreter.as_ref().map_or(0, |interpreter| interpreter.used_memory())
    }
    /// What the texts of libraries hold here.
    pub fn cache_bytes(&self) -> usize {
        self.libraries().map(<[u8]>::len).sum()
    }

    pub(super) fn find(&self, name: &[u8]) -> Option<&Function> {
        let library = self.libraries.get(self.by_name.get(&name.to_ascii_lowercase())?)?;
        library.functions.iter().find(|function| function.name.eq_ignore_ascii_case(name))
    }

    /// Forgets a library. False if there is none.
    pub(super) fn delete(&mut self, name: &[u8]) -> bool {
        let found = self.libraries.remove(name).is_some();
        self.by_name.retain(|_, library| library != name);
        found
    }

    /// Forgets all libraries, and with them the interpreter.
    pub fn flush(&mut self) {
        *self = Functions::default();
    }

    /// Puts a library into its place. Fails, and changes nothing, if another library has a function of that name.
    fn put(&mut self, name: Vec<u8>, library: Library) -> Result<(), CommandError> {
        let taken = |function: &&Function| self.by_name.get(&function.name.to_ascii_lowercase()).is_some_and(|owner| *owner != name);
        if let Some(function) = library.functions.iter().find(taken) {
            return Err(format!("ERR Function {} already exists", String::from_utf8_lossy(&function.name)).into());
        }
        self.delete(&name);
        self.by_name.extend(library.functions.iter().map(|function| (function.name.to_ascii_lowercase(), name.clone())));
        self.libraries.insert(name, library);
        Ok(())
    }
}

impl NodeState {
    /// Compiles a library and runs its code, which registers the functions. Returns its name.
    pub fn load_library(&mut self, code: &[u8], replace: bool) -> Result<Vec<u8>, CommandError> {
        let (name, end) = metadata(code)?;
        if !replace && self.functions.libraries.contains_key(&name) {
            return Err(format!("ERR Library '{}' already exists", String::from_utf8_lossy(&name)).into());
        }
        let interpreter = self.function_interpreter()?;
        let failed = |what: &str, text: &[u8]| CommandError::from(format!("ERR {what}: {}", String::from_utf8_lossy(text)));
        let script = interpreter.compile(CHUNK, &code[end..]).map_err(|message| failed("Error compiling function", &message))?;
        let mut host = LibraryHost::new(self);
        let registered = interpreter.load_library(&script, &mut host).map_err(|failure| failed("Error registering functions", &failure.err))?;
        if registered.is_empty() {
            return Err("ERR No functions registered".into());
        }
        let mut functions: Vec<Function> = registered
            .into_iter()
            .map(|function| Function {
                flags: function.flags.iter().filter_map(|flag| ScriptFlags::named(flag)).collect(),
                name: function.name,
                script: function.script,
                description: function.description,
            })
            .collect();
        functions.sort_by(|a, b| a.name.cmp(&b.name));
        self.functions.put(name.clone(), Library { code: code.to_vec(), functions })?;
        Ok(name)
    }
}
