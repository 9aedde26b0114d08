//! What the dimensions of a sample stand for: columns of a table, channels over time, channels of a picture.

/// Columns that are looked at one by one; of an input with more, all elements are one column.
const COLUMNS_MAX: usize = 1024;
/// Colours and transparency: a last dimension of at most so many is the channels of a picture.
const COLOURS_MAX: usize = 4;

/// What the elements of a sample are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// One value per column.
    Row {
        /// Columns.
        columns: usize,
    },
    /// Channels, each a series.
    Signal {
        /// Channels.
        channels: usize,
        /// Values of each.
        length: usize,
    },
    /// Channels, each a plane.
    Image {
        /// Channels.
        channels: usize,
        /// Rows.
        height: usize,
        /// Columns.
        width: usize,
        /// The channels of a pixel stand together (NHWC).
        interleaved: bool,
    },
}

impl Layout {
    /// By the shape of one sample, as most models have it: `[columns]` (a series, where they are more than 1024), `[channels, time]`,
    /// `[channels, height, width]`, or `[height, width, channels]` where the last is at most 4. More dimensions are planes of the first.
    pub fn of(shape: &[u64]) -> Self {
        let dims: Vec<usize> = shape.iter().map(|n| *n as usize).collect();
        match dims.as_slice() {
            [] => Self::Row { columns: 1 },
            [columns] if *columns <= COLUMNS_MAX => Self::Row { columns: *columns },
            [length] => Self::Signal { channels: 1, length: *length },
            [channels, length] => Self::Signal { channels: *channels, length: *length },
            [height, width, channels] if *channels <= COLOURS_MAX && *width > COLOURS_MAX => {
                Self::Image { channels: *channels, height: *height, width: *width, interleaved: true }
            }
            [channels, rest @ .., width] => {
                let height = rest.iter().product();
                Self::Image { channels: *channels, height, width: *width, interleaved: false }
            }
        }
    }

    /// Columns that are looked at one by one.
    pub fn columns(self) -> usize {
        let columns = match self {
            Self::Row { columns } => columns,
            Self::Signal { channels, .. } | Self::Image { channels, .. } => channels,
        };
        if columns > COLUMNS_MAX { 1 } else { columns.max(1) }
    }

    /// The column of an element of a sample with `elements` of them.
    pub fn column(self, element: usize, elements: usize) -> usize {
        let columns = self.columns();
        match self {
            Self::Image { interleaved: true, channels, .. } if channels == columns => element % columns,
            _ => element * columns / elements.max(1),
        }
    }

    /// Name of a column where nobody has given one.
    pub fn name(self, tensor: &str, column: usize) -> String {
        match (self, self.columns()) {
            (_, 1) => tensor.to_owned(),
            (Self::Row { .. }, _) => format!("{tensor}.{column}"),
            _ => format!("{tensor} channel {column}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_what_most_models_mean_by_them() {
        assert_eq!(Layout::of(&[62]), Layout::Row { columns: 62 });
        assert_eq!(Layout::of(&[12, 32]), Layout::Signal { channels: 12, length: 32 });
        let image = |channels, height, width, interleaved| Layout::Image { channels, height, width, interleaved };
        assert_eq!(Layout::of(&[1, 28, 28]), image(1, 28, 28, false));
        assert_eq!(Layout::of(&[3, 96, 96]), image(3, 96, 96, false));
        assert_eq!(Layout::of(&[96, 96, 3]), image(3, 96, 96, true));
        assert_eq!(Layout::of(&[2, 4, 8, 8]), image(2, 32, 8, false));
    }

    #[test]
    fn every_element_has_its_column() {
        let columns = |layout: Layout, n: usize| (0..n).map(|i| layout.column(i, n)).collect::<Vec<_>>();
        assert_eq!(columns(Layout::of(&[3]), 3), [0, 1, 2]);
        assert_eq!(columns(Layout::of(&[2, 3]), 6), [0, 0, 0, 1, 1, 1]);
        assert_eq!(columns(Layout::of(&[1, 5, 2]), 10), [0, 1, 0, 1, 0, 1, 0, 1, 0, 1]);
        assert_eq!(columns(Layout::of(&[]), 1), [0]);
        assert_eq!(Layout::of(&[2000]).columns(), 1);
    }
}
