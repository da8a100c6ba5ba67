//! One key of the file at a time: its type and range, with messages that say what to write.

use super::duration::parse_duration;
use super::error::{ConfigError, Source};
use super::raw::Field;
use serde::de::DeserializeOwned;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;
use toml::{Spanned, Value};

/// A section of the file: where errors about missing keys point.
pub(super) struct Section<'a> {
    source: Source<'a>,
    name: &'static str,
    span: Range<usize>,
}

/// A key of a section, present or not.
pub(super) struct Key<'a> {
    source: Source<'a>,
    section: &'static str,
    section_span: Range<usize>,
    name: &'static str,
    example: &'a str,
    value: Option<&'a Spanned<Value>>,
}

impl<'a> Section<'a> {
    /// The section called `name`, as in `[limits]`, that stands at `span`.
    pub(super) fn new(source: Source<'a>, name: &'static str, span: Range<usize>) -> Self {
        Self { source, name, span }
    }

    /// One of its keys; `example` is a value to show, as it would be written.
    pub(super) fn key(&self, name: &'static str, value: &'a Field, example: &'a str) -> Key<'a> {
        Key {
            source: self.source,
            section: self.name,
            section_span: self.span.clone(),
            name,
            example,
            value: value.as_ref(),
        }
    }
}

impl<'a> Key<'a> {
    /// Whether the key is written at all.
    pub(super) fn is_given(&self) -> bool {
        self.value.is_some()
    }

    /// Where the value stands, or else where its section starts.
    pub(super) fn span(&self) -> Range<usize> {
        self.value.map_or_else(|| self.section_span.clone(), |v| v.span())
    }

    /// An error at the value, or at the section if the key is not written.
    pub(super) fn error(
        &self,
        problem: impl std::fmt::Display,
        remedy: impl Into<String>,
    ) -> ConfigError {
        self.source.error(self.span(), format!("`{}`: {problem}", self.name), remedy)
    }

    /// As [`Key::error`], with the example as the remedy.
    pub(super) fn refuse(&self, problem: impl std::fmt::Display) -> ConfigError {
        self.error(problem, format!("write for example {} = {}", self.name, self.example))
    }

    /// A string.
    pub(super) fn text(&self) -> Result<&'a str, ConfigError> {
        match self.needed()? {
            Value::String(text) => Ok(text),
            other => Err(self.wrong_type("a string in quotes", other)),
        }
    }

    /// A whole number in a range.
    pub(super) fn whole(&self, range: RangeInclusive<u64>) -> Result<u64, ConfigError> {
        let value = match self.needed()? {
            Value::Integer(i) => *i,
            other => return Err(self.wrong_type("a whole number without quotes", other)),
        };
        u64::try_from(value).ok().filter(|n| range.contains(n)).ok_or_else(|| {
            let (low, high) = range.into_inner();
            self.refuse(format!("{value} is not allowed, it must be from {low} to {high}"))
        })
    }

    /// A whole number in a range, or the default if the key is not written.
    pub(super) fn whole_or<T>(&self, default: T, range: RangeInclusive<T>) -> Result<T, ConfigError>
    where
        T: Copy + Into<u64> + TryFrom<u64>,
    {
        if !self.is_given() {
            return Ok(default);
        }
        let (low, high) = range.into_inner();
        let number = self.whole(low.into()..=high.into())?;
        T::try_from(number).map_err(|_| self.refuse(format!("{number} is too large")))
    }

    /// A duration.
    pub(super) fn duration(&self) -> Result<Duration, ConfigError> {
        match self.needed()? {
            Value::String(text) => parse_duration(text).map_err(|e| self.refuse(e)),
            other => Err(self.wrong_type("a duration in quotes, with its unit", other)),
        }
    }

    /// A duration, or the default if the key is not written.
    pub(super) fn duration_or(&self, default: Duration) -> Result<Duration, ConfigError> {
        if self.is_given() { self.duration() } else { Ok(default) }
    }

    /// A list, or an empty one if the key is not written.
    pub(super) fn list(&self) -> Result<&'a [Value], ConfigError> {
        match self.value.map(Spanned::get_ref) {
            None => Ok(&[]),
            Some(Value::Array(list)) => Ok(list),
            Some(other) => Err(self.wrong_type("a list in square brackets", other)),
        }
    }

    /// True or false, or false if the key is not written.
    pub(super) fn flag(&self) -> Result<bool, ConfigError> {
        match self.value.map(Spanned::get_ref) {
            None => Ok(false),
            Some(Value::Boolean(b)) => Ok(*b),
            Some(other) => Err(self.wrong_type("true or false without quotes", other)),
        }
    }

    /// One of the names of an enum.
    pub(super) fn choice<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        let text = self.text()?;
        T::deserialize(Value::String(text.to_owned())).map_err(|e| {
            // "unknown variant `x`, expected `a` or `b`": the second half is what helps.
            let message = e.message().to_owned();
            let options = message.split_once("expected ").map_or("", |(_, o)| o);
            let options = options.trim().replace('`', "\"");
            self.error(format!("{text:?} is not known"), format!("write {options}"))
        })
    }

    /// One of the names of an enum, or the default if the key is not written.
    pub(super) fn choice_or<T: DeserializeOwned>(&self, default: T) -> Result<T, ConfigError> {
        if self.is_given() { self.choice() } else { Ok(default) }
    }

    fn needed(&self) -> Result<&'a Value, ConfigError> {
        self.value.map(Spanned::get_ref).ok_or_else(|| {
            self.source.error(
                self.section_span.clone(),
                format!("{} has no `{}`", self.section, self.name),
                format!("add a line {} = {}", self.name, self.example),
            )
        })
    }

    fn wrong_type(&self, expected: &str, found: &Value) -> ConfigError {
        self.refuse(format!("this must be {expected}, not {}", name_of(found)))
    }
}

fn name_of(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a string",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number with a fraction",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::Table(_) => "a section",
    }
}
