//! Small graphs of characters, as LATENCY GRAPH draws them: four rows of columns, and a label that reads downward under each.

use std::fmt::Write;

const ROWS: usize = 4;
/// How high a column reaches into its topmost row.
const TIPS: [char; 3] = ['_', 'o', '#'];
const BODY: char = '|';
const COLUMNS_MAX: usize = 80;

/// Draws values with their labels, 80 at a time.
pub fn draw(values: &[(u64, String)]) -> String {
    let least = values.iter().map(|(value, _)| *value).min().unwrap_or(0);
    let most = values.iter().map(|(value, _)| *value).max().unwrap_or(0);
    let steps = ROWS * TIPS.len();
    let height = |value: u64| match most - least {
        0 => 0,
        range => (((value - least) as f64 / range as f64 * steps as f64) as usize).min(steps - 1),
    };
    let mut out = String::new();
    for (number, part) in values.chunks(COLUMNS_MAX).enumerate() {
        if number > 0 {
            out.push('\n');
        }
        for row in (0..ROWS).rev() {
            let from = row * TIPS.len();
            out.extend(part.iter().map(|(value, _)| match height(*value) {
                height if height < from => ' ',
                height => TIPS.get(height - from).copied().unwrap_or(BODY),
            }));
            out.push('\n');
        }
        draw_labels(&mut out, part);
    }
    out
}

fn draw_labels(out: &mut String, part: &[(u64, String)]) {
    let _ = writeln!(out, "{:width$}", "", width = part.len());
    let length = part.iter().map(|(_, label)| label.len()).max().unwrap_or(0);
    for at in 0..length {
        out.extend(part.iter().map(|(_, label)| label.as_bytes().get(at).map_or(' ', |byte| char::from(*byte))));
        out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(values: &[u64], labels: &[&str]) -> String {
        let values: Vec<_> = values.iter().zip(labels).map(|(value, label)| (*value, (*label).to_owned())).collect();
        draw(&values)
    }

    /// What Redis 8.2.3 drew of these.
    #[test]
    fn columns_rise_from_the_least_to_the_most() {
        assert_eq!(drawn(&[50], &["0s"]), " \n \n \n_\n \n0\ns\n");
        let values = [3, 50, 100, 32, 80, 100, 10, 60];
        let labels = ["9s", "8s", "7s", "6s", "5s", "3s", "2s", "12m"];
        let rows = ["  # _#  ", "  | || o", " #|_|| |", "_|||||_|", "        ", "98765321", "sssssss2", "       m", ""];
        assert_eq!(drawn(&values, &labels), rows.join("\n"));
    }
}
