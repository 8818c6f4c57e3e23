//! `--help` and `--version`, from the same tables that recognize the flags.

use std::iter;

use super::value::NOTATIONS;
use super::{Program, Row, Subcommand};

impl<A: Copy> Program<A> {
    /// The line that `--version` prints, without its end.
    pub fn version_line(&self) -> String {
        format!("{} {}", self.name, self.version)
    }

    /// The text that `--help` prints, its last line ended.
    pub fn help(&self) -> String {
        let mut text = format!("{}: {}\n", self.version_line(), self.about);

        text += "\nUsage:\n";
        let usage: Vec<_> =
            self.actions().map(|action| [self.usage(action), action.help.into()]).collect();
        text += &columns(&usage);

        text += "\nSettings (flag, environment variable; the flag wins):\n";
        let mut settings: Vec<_> = self.main.rows().map(Row::cells).collect();
        settings.push(["-h, --help".into(), String::new(), "this text".into()]);
        settings.push(["-V, --version".into(), String::new(), "name and version".into()]);
        text += &columns(&settings);

        for subcommand in self.subcommands {
            let is_shown = |row: &Row| self.main.rows().any(|shown| shown.name == row.name);
            let own: Vec<_> =
                subcommand.rows().filter(|row| !is_shown(row)).map(Row::cells).collect();
            if !own.is_empty() {
                text += &["\nSettings of ", subcommand.name, ":\n"].concat();
                text += &columns(&own);
            }
        }

        for (title, rows) in
            [("Values", NOTATIONS), ("Examples", self.examples), ("Exit codes", self.exit_codes)]
        {
            text += &["\n", title, ":\n"].concat();
            let rows: Vec<_> =
                rows.iter().map(|(name, help)| [*name, *help].map(String::from)).collect();
            text += &columns(&rows);
        }
        text
    }

    fn usage(&self, action: &Subcommand<A>) -> String {
        let arguments = action.argument.map(|argument| format!("{argument}..."));
        let words =
            [self.name, action.name, arguments.as_deref().unwrap_or(""), "[--FLAG VALUE]..."];
        words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
    }
}

impl Row {
    fn cells(&self) -> [String; 3] {
        let help = match self.default {
            "" => self.help.to_owned(),
            default => format!("{} (default {default})", self.help),
        };
        [format!("--{}", self.flag()), self.name.to_owned(), help]
    }
}

/// Rows of cells, every column but the last as wide as its widest cell.
fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: [usize; N] =
        std::array::from_fn(|column| if column + 1 < N { width(column) } else { 0 });
    let mut text = String::new();
    for row in rows {
        for (cell, width) in row.iter().zip(widths) {
            text += "  ";
            text += cell;
            text.extend(iter::repeat_n(' ', width.saturating_sub(cell.len())));
        }
        text.push('\n');
    }
    text
}
