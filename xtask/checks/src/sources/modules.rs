//! The modules of a crate and the paths that they mention, read with `syn`.
//!
//! It resolves names as far as imports need it: through `crate`, `self`, `super` and `use`, so that
//! a path leads to the file that defines what it names, and not to one that only passes it on.
//! Names that come through a glob are taken for the glob's own.

use std::collections::BTreeMap;

use anyhow::Context as _;
use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use syn::parse::{ParseStream, Parser as _};
use syn::visit::{self, Visit};
use syn::{Attribute, ItemMod, ItemUse, Macro, UseTree, Visibility};

use crate::repository::TextFile;

/// The modules of a crate, without those that only its unit tests have.
/// A module is known by its path, such as `["crate", "serve", "registry"]`.
pub(crate) struct Modules(BTreeMap<Vec<String>, Module>);

#[derive(Default)]
struct Module {
    /// Relative to the root of the repository.
    file: String,
    /// The names that `use` makes known in it, and what they stand for.
    names: BTreeMap<String, Vec<String>>,
    mentions: Vec<Mention>,
}

/// A path in code or in a `use` for the module itself. A `pub use` only passes a name on.
pub(crate) struct Mention {
    pub line: usize,
    /// As written, with the groups of `use` resolved.
    pub path: Vec<String>,
}

/// Something that one file needs of another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Import {
    pub from: String,
    pub to: String,
    pub name: String,
    /// In `from`.
    pub line: usize,
}

impl Modules {
    /// Reads the crate whose first file is `root`.
    ///
    /// # Errors
    ///
    /// When a file is not Rust, or a module has no file where cargo looks for it by itself.
    pub(crate) fn read(files: &[TextFile], root: &str) -> anyhow::Result<Modules> {
        let directory = root.rsplit_once('/').map_or("", |(directory, _)| directory);
        let mut modules = BTreeMap::new();
        let mut pending = vec![(vec!["crate".to_owned()], root.to_owned())];
        while let Some((module, path)) = pending.pop() {
            let file = files.iter().find(|file| file.path == path);
            let file = file.with_context(|| format!("{path} is not there"))?;
            let syntax = syn::parse_file(&file.text).with_context(|| path.clone())?;
            modules.insert(module.clone(), Module { file: path.clone(), ..Module::default() });
            let mut reader = Reader { modules: &mut modules, module, declared: Vec::new() };
            reader.visit_file(&syntax);
            for module in reader.declared {
                let stem = format!("{directory}/{}", module[1..].join("/"));
                let candidates = [format!("{stem}.rs"), format!("{stem}/mod.rs")];
                let is_there = |path: &String| files.iter().any(|file| file.path == *path);
                let found = candidates.into_iter().find(is_there);
                let found = found.with_context(|| format!("{path}: {stem}.rs is not there"))?;
                pending.push((module, found));
            }
        }
        Ok(Modules(modules))
    }

    /// Every mention, with the file that it stands in.
    pub(crate) fn mentions(&self) -> impl Iterator<Item = (&str, &Mention)> {
        self.0.values().flat_map(|module| {
            module.mentions.iter().map(|mention| (module.file.as_str(), mention))
        })
    }

    /// What the files need of each other, in order and each name once.
    pub(crate) fn imports(&self) -> Vec<Import> {
        let mut imports = Vec::new();
        for (path, module) in &self.0 {
            for mention in &module.mentions {
                if let Some((to, name)) = self.definition(path, &mention.path)
                    && to != module.file
                {
                    imports.push(Import {
                        from: module.file.clone(),
                        to,
                        name,
                        line: mention.line,
                    });
                }
            }
        }
        imports.sort();
        imports.dedup_by(|next, import| {
            (&next.from, &next.to, &next.name) == (&import.from, &import.to, &import.name)
        });
        imports
    }

    /// The file that defines what `path` names in a module, and its name there. `None` if that is
    /// of another crate, known without an import, or a module itself, from which nothing is used.
    fn definition(&self, module: &[String], path: &[String]) -> Option<(String, String)> {
        let mut at = module.to_vec();
        let mut rest = path;
        match path.first()?.as_str() {
            "crate" => {
                at.truncate(1);
                rest = &path[1..];
            }
            "self" => rest = &path[1..],
            "super" => {
                while rest.first().is_some_and(|segment| segment == "super") {
                    at.pop();
                    rest = &rest[1..];
                }
            }
            first => {
                let is_module = self.0.contains_key(&[module, &path[..1]].concat());
                if !is_module && !self.0.get(module)?.names.contains_key(first) {
                    return None;
                }
            }
        }
        while let Some((segment, behind)) = rest.split_first() {
            let module = self.0.get(&at)?;
            let child = [&at[..], &rest[..1]].concat();
            if self.0.contains_key(&child) {
                at = child;
                rest = behind;
                continue;
            }
            return match module.names.get(segment) {
                // `use anyhow::anyhow;`
                Some(target) if target.first() == Some(segment) => None,
                Some(target) => self.definition(&at, &[target, behind].concat()),
                None => Some((module.file.clone(), segment.clone())),
            };
        }
        None
    }
}

/// Looks at one file.
struct Reader<'a> {
    modules: &'a mut BTreeMap<Vec<String>, Module>,
    /// The module whose code is looked at.
    module: Vec<String>,
    /// Modules that have a file of their own.
    declared: Vec<Vec<String>>,
}

impl Reader<'_> {
    fn here(&mut self) -> &mut Module {
        self.modules.entry(self.module.clone()).or_default()
    }

    fn mention(&mut self, at: Span, path: Vec<String>) {
        let line = at.start().line;
        self.here().mentions.push(Mention { line, path });
    }

    fn read_use(&mut self, tree: &UseTree, mut path: Vec<String>, is_for_itself: bool) {
        let (name, known_as) = match tree {
            UseTree::Path(tree) => {
                path.push(tree.ident.to_string());
                return self.read_use(&tree.tree, path, is_for_itself);
            }
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.read_use(tree, path.clone(), is_for_itself);
                }
                return;
            }
            UseTree::Glob(glob) => {
                path.push("*".to_owned());
                return self.mention(glob.star_token.spans[0], path);
            }
            UseTree::Name(tree) => (&tree.ident, &tree.ident),
            UseTree::Rename(tree) => (&tree.ident, &tree.rename),
        };
        if name != "self" {
            path.push(name.to_string());
        }
        let known_as = match known_as == "self" {
            true => path.last().cloned().unwrap_or_default(),
            false => known_as.to_string(),
        };
        self.here().names.insert(known_as, path.clone());
        if is_for_itself {
            self.mention(name.span(), path);
        }
    }

    /// The paths among the tokens of a macro, whatever else the macro makes of them.
    fn read_tokens(&mut self, tokens: TokenStream) -> syn::Result<()> {
        let read = |input: ParseStream<'_>| {
            while !input.is_empty() {
                if input.fork().call(syn::Path::parse_mod_style).is_ok() {
                    self.visit_path(&input.call(syn::Path::parse_mod_style)?);
                } else if let TokenTree::Group(group) = input.parse()? {
                    self.read_tokens(group.stream())?;
                }
            }
            Ok(())
        };
        read.parse2(tokens)
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        if is_for_tests(&item.attrs) {
            return;
        }
        let file = self.here().file.clone();
        self.module.push(item.ident.to_string());
        match item.content {
            None => self.declared.push(self.module.clone()),
            Some(_) => {
                self.here().file = file;
                visit::visit_item_mod(self, item);
            }
        }
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        if !is_for_tests(&item.attrs) {
            let is_for_itself = matches!(item.vis, Visibility::Inherited);
            self.read_use(&item.tree, Vec::new(), is_for_itself);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if let Some(first) = path.segments.first() {
            let segments = path.segments.iter().map(|segment| segment.ident.to_string());
            self.mention(first.ident.span(), segments.collect());
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'ast Macro) {
        self.visit_path(&item.path);
        let read = self.read_tokens(item.tokens.clone());
        read.expect("a sequence of tokens can be read token by token");
    }

    /// `pub(crate)` has a path too.
    fn visit_visibility(&mut self, _: &'ast Visibility) {}

    fn visit_attribute(&mut self, _: &'ast Attribute) {}
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let condition = attribute.parse_args::<Ident>();
        attribute.path().is_ident("cfg") && condition.is_ok_and(|condition| condition == "test")
    })
}
