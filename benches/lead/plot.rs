//! Bars, as an SVG that reads on light and dark pages.

use std::fmt::Write as _;

const WIDTH: usize = 760;
/// Where bars begin, and how much of the width the longest has.
const LEFT: usize = 300;
const LONGEST: usize = 380;
const LINE: usize = 24;

/// One block of bars for each group, to its own scale; the names of our own rows are bold.
pub fn bars(title: &str, groups: &[(String, Vec<(String, f64)>)]) -> String {
    let height = 50 + groups.iter().map(|(_, rows)| LINE * (rows.len() + 2)).sum::<usize>();
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"14\" role=\"img\">\n<title>{title}</title>\n\
         <style>text {{ fill: #222 }} .bar {{ fill: #9aa5b1 }} .own {{ fill: #2f7d6b }} \
         @media (prefers-color-scheme: dark) {{ text {{ fill: #ddd }} .bar {{ fill: #66717d }} .own {{ fill: #4fb39b }} }}\
         </style>\n<text x=\"10\" y=\"26\" font-size=\"17\">{title}</text>\n"
    );
    let mut y = 50;
    for (name, rows) in groups {
        y += LINE;
        let most = rows.iter().map(|(_, value)| *value).fold(1.0, f64::max);
        let _ = writeln!(svg, "<text x=\"10\" y=\"{y}\" font-weight=\"bold\">{}</text>", escaped(name));
        for (name, value) in rows {
            y += LINE;
            let own = name.starts_with("Millstream");
            let (class, weight) = if own { ("own", "bold") } else { ("bar", "normal") };
            let length = (value / most * LONGEST as f64).max(1.0);
            let name = escaped(name);
            let _ = writeln!(
                svg,
                "<text x=\"{}\" y=\"{y}\" text-anchor=\"end\" font-weight=\"{weight}\">{name}</text>\
                 <rect class=\"{class}\" x=\"{LEFT}\" y=\"{}\" width=\"{length:.1}\" height=\"16\" rx=\"2\"/>\
                 <text x=\"{:.1}\" y=\"{y}\">{value:.0}</text>",
                LEFT - 8,
                y - 13,
                LEFT as f64 + length + 6.0,
            );
        }
        y += LINE;
    }
    svg + "</svg>\n"
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
