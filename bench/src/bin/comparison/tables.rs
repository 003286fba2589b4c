// SPDX-License-Identifier: MIT OR Apache-2.0
//! Numbers out of the tables of docs/.

/// The last cell of `row` in the Markdown table that follows the line `table`.
pub fn last_cell(page: &str, table: &str, row: &str) -> Result<f64, String> {
    let rows = page
        .lines()
        .skip_while(|line| *line != table)
        .skip(1)
        .skip_while(|line| line.is_empty())
        .take_while(|line| line.starts_with('|'));
    for line in rows {
        let mut cells = line.trim_matches('|').split('|').map(str::trim);
        if cells.next() == Some(row) {
            let cell = cells.next_back().unwrap_or_default().replace(',', "");
            return cell
                .parse()
                .map_err(|_| format!("\"{row}\" under \"{table}\" ends with \"{cell}\""));
        }
    }
    Err(format!("no row \"{row}\" under \"{table}\""))
}

/// How many transfers were corrupted, and of how many, in the line that begins
/// with `row`: `row: transfers N, ..., corrupted N`, or `row N N ...`.
pub fn corrupted(page: &str, row: &str) -> Result<(u64, u64), String> {
    let rest = page
        .lines()
        .find_map(|line| line.strip_prefix(row))
        .ok_or_else(|| format!("no line begins with \"{row}\""))?;
    let number = |word: Option<&str>| {
        word.and_then(|word| word.trim_end_matches(',').parse().ok())
            .ok_or_else(|| format!("no count in \"{row}{rest}\""))
    };
    let mut words = rest.split_whitespace();
    if rest.starts_with(':') {
        let mut after = |name: &str| {
            words.find(|word| *word == name);
            number(words.next())
        };
        let of = after("transfers")?;
        return Ok((after("corrupted")?, of));
    }
    let of = number(words.next())?;
    Ok((number(words.next())?, of))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_found_in_their_table_only() {
        let page = "t:\n\n| | 1 | 2 |\n|---|---|---|\n| a | 1 | 2,000 |\n\n| b | 3 | 4 |\n";
        assert_eq!(last_cell(page, "t:", "a"), Ok(2000.0));
        assert!(last_cell(page, "t:", "b").is_err());
        assert!(last_cell(page, "u:", "a").is_err());
    }

    #[test]
    fn both_forms_of_counting_lines_are_read() {
        let page = "x, y: transfers 12, hits 3, corrupted 4\nz (own)   20   0  2.4\n";
        assert_eq!(corrupted(page, "x, y"), Ok((4, 12)));
        assert_eq!(corrupted(page, "z (own)"), Ok((0, 20)));
        assert!(corrupted(page, "w").is_err());
        assert!(corrupted("x: transfers 12\n", "x").is_err());
    }
}
