//! Verdicts as JUnit XML, which most CI systems read.

use std::fmt::Write;
use std::time::Duration;

use super::suite::{Told, Verdict};

/// The whole document.
pub fn junit(told: &Told) -> String {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let failed = told.verdicts.iter().filter(|verdict| !verdict.passed).count();
    let (all, errors) = (told.verdicts.len() + told.problems.len(), told.problems.len());
    let _ = writeln!(out, "<testsuites tests=\"{all}\" failures=\"{failed}\" errors=\"{errors}\">");
    for of in told.verdicts.chunk_by(|a, b| a.file == b.file) {
        suite(&mut out, of);
    }
    if errors > 0 {
        let _ =
            writeln!(out, "  <testsuite name=\"test files\" tests=\"{errors}\" failures=\"0\" errors=\"{errors}\">");
        for problem in &told.problems {
            let name = text(&format!("{}:{}", problem.file.display(), problem.line));
            let (what, told) = (text(&problem.what), text(&problem.to_string()));
            let _ = writeln!(out, "    <testcase name=\"{name}\" classname=\"test files\">");
            let _ = writeln!(out, "      <error message=\"{what}\">{told}</error>\n    </testcase>");
        }
        out.push_str("  </testsuite>\n");
    }
    out.push_str("</testsuites>\n");
    out
}

fn suite(out: &mut String, of: &[Verdict]) {
    let Some(first) = of.first() else { return };
    let file = text(&first.file.to_string_lossy());
    let failed = of.iter().filter(|verdict| !verdict.passed).count();
    let took = of.iter().map(|verdict| verdict.took).sum::<Duration>().as_secs_f64();
    let count = of.len();
    let _ = writeln!(
        out,
        "  <testsuite name=\"{file}\" tests=\"{count}\" failures=\"{failed}\" errors=\"0\" time=\"{took:.6}\">"
    );
    for verdict in of {
        let (name, flow) = (text(&verdict.case), text(&verdict.flow));
        let took = verdict.took.as_secs_f64();
        let _ = write!(out, "    <testcase name=\"{name}\" classname=\"{flow}\" file=\"{file}\" time=\"{took:.6}\"");
        let Some(first) = verdict.mismatches.first() else {
            out.push_str("/>\n");
            continue;
        };
        let all = verdict.mismatches.iter().map(|one| {
            let hint = one.hint.as_ref().map(|hint| format!("\n{hint}")).unwrap_or_default();
            format!("{}:{}:{}: {}{hint}", verdict.file.display(), one.line, one.column, one.what)
        });
        let all = text(&all.collect::<Vec<_>>().join("\n"));
        let what = text(&first.what);
        let _ = writeln!(out, ">\n      <failure message=\"{what}\">{all}</failure>\n    </testcase>");
    }
    out.push_str("  </testsuite>\n");
}

/// Text as XML has it; characters that XML cannot hold are replaced.
fn text(plain: &str) -> String {
    let mut out = String::with_capacity(plain.len());
    for c in plain.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("&#10;"),
            '\t' => out.push('\t'),
            c if c.is_control() || matches!(c, '\u{FFFE}' | '\u{FFFF}') => out.push('\u{FFFD}'),
            c => out.push(c),
        }
    }
    out
}
