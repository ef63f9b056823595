//! The form of every table: columns without lines between them, and figures to the right.

use std::ops::Range;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Row, Table, TableComponent};

/// A table without rows. The columns in `figures` are aligned to the right.
pub fn new(header: impl Into<Row>, figures: Range<usize>) -> Table {
    let mut table = Table::new();
    table.load_preset(NOTHING).set_style(TableComponent::HeaderLines, '─').set_header(header);
    for column in table.column_iter_mut().skip(figures.start).take(figures.len()) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
