//! The form by which a sweep is started from the page.

use std::collections::BTreeMap;

use serde::Serialize;

/// A field of the form.
#[derive(Debug, Clone, Serialize)]
pub struct Field {
    /// Dotted path of the setting that it changes.
    pub key: &'static str,
    pub label: &'static str,
    /// What the file says, as it would be written there; empty where it says nothing.
    pub value: String,
    pub hint: &'static str,
}

/// What was wrong with a form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FormMistake {
    /// The field, by its key; empty: of none.
    pub key: String,
    pub text: String,
}

/// What was filled in, by key. Only what differs from the file is sent.
pub type Order = BTreeMap<String, String>;
