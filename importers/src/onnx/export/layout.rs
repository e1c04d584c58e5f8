//! How a value of a graph lies in the file.
//!
//! Our axes and the file's are both made of *atoms*: parts of axes that are not divided further. So images
//! are channels-first there, a reshape or a permutation is no node until something needs its result in a
//! certain form, and what flattens images needs no transposition where weights can follow.

use std::collections::VecDeque;

/// The atoms of an axis, the slowest first; none where its extent is 1.
pub(super) type Group = Vec<usize>;

/// The order of images with their channels first.
pub(super) const CHANNELS_FIRST: [usize; 4] = [0, 3, 1, 2];

/// How a value lies in the file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Layout {
    /// The extent of each atom.
    extents: Vec<usize>,
    /// The atom whose extent is open in the file.
    batch: Option<usize>,
    /// The atoms of each of our axes.
    axes: Vec<Group>,
    /// The atoms of each axis in the file.
    file: Vec<Group>,
}

impl Layout {
    /// A value of these extents whose file's axis `i` is our axis `order[i]`; the first of ours may be open.
    pub(super) fn new(dims: &[usize], is_open: bool, order: &[usize]) -> Self {
        let nothing = Layout { extents: vec![], batch: None, axes: vec![], file: vec![] };
        let mut layout = nothing.next(dims, &vec![None; dims.len()], order);
        if let (true, Some(first)) = (is_open, dims.first()) {
            let atom = layout.axes[0].first().copied();
            let atom = atom.unwrap_or_else(|| {
                layout.extents.push(*first);
                layout.extents.len() - 1
            });
            layout.batch = Some(atom);
            layout.axes[0] = vec![atom];
            layout.file = layout.groups(order);
        }
        layout
    }

    /// A value that an op makes of one of this layout: its axis `i` is our axis `kept[i]` where there is one.
    pub(super) fn next(&self, dims: &[usize], kept: &[Option<usize>], order: &[usize]) -> Self {
        let mut next = self.clone();
        next.axes = Vec::with_capacity(dims.len());
        for (place, &extent) in dims.iter().enumerate() {
            let kept = kept.get(place).copied().flatten();
            let group = match kept.and_then(|axis| self.axes.get(axis)) {
                Some(group) => group.clone(),
                None if extent == 1 => Vec::new(),
                None => {
                    next.extents.push(extent);
                    vec![next.extents.len() - 1]
                }
            };
            next.axes.push(group);
        }
        next.batch = self.batch.filter(|batch| next.axes.iter().any(|g| g.contains(batch)));
        next.file = next.groups(order);
        next
    }

    pub(super) fn rank(&self) -> usize {
        self.axes.len()
    }

    /// The atoms of our axes.
    pub(super) fn axes(&self) -> &[Group] {
        &self.axes
    }

    /// The atoms of the file's axes.
    pub(super) fn file(&self) -> &[Group] {
        &self.file
    }

    /// The extent of each atom.
    pub(super) fn extents(&self) -> &[usize] {
        &self.extents
    }

    pub(super) fn extent(&self, group: &[usize]) -> usize {
        group.iter().map(|&atom| self.extents[atom]).product()
    }

    /// Our extents.
    pub(super) fn dims(&self) -> Vec<usize> {
        self.axes.iter().map(|group| self.extent(group)).collect()
    }

    pub(super) fn is_open(&self, group: &[usize]) -> bool {
        self.batch.is_some_and(|batch| group.contains(&batch))
    }

    /// The open atom alone.
    pub(super) fn is_batch(&self, group: &[usize]) -> bool {
        self.batch.is_some_and(|batch| group == [batch])
    }

    /// Our axes in this order, as axes of the file.
    pub(super) fn groups(&self, order: &[usize]) -> Vec<Group> {
        order.iter().map(|&axis| self.axes[axis].clone()).collect()
    }

    /// Lies in the file so from here on.
    pub(super) fn set_file(&mut self, file: Vec<Group>) {
        self.file = file;
    }

    /// Our axes in the order that is nearest to how the value lies.
    pub(super) fn order(&self) -> Vec<usize> {
        let rank = self.rank();
        let plain: Vec<usize> = (0..rank).collect();
        let is = |order: &[usize]| self.groups(order) == self.file;
        if rank == 4 && is(&CHANNELS_FIRST) {
            return CHANNELS_FIRST.to_vec();
        }
        if is(&plain) {
            return plain;
        }
        let mut order = Vec::with_capacity(rank);
        for group in &self.file {
            let same = (0..rank).find(|axis| !order.contains(axis) && self.axes[*axis] == *group);
            order.extend(same);
        }
        if order.len() == rank && is(&order) {
            return order;
        }
        let place = |axis: usize| {
            let first = self.axes[axis].first()?;
            self.file.iter().flatten().position(|atom| atom == first)
        };
        if rank == 4 {
            let (channels, pixels) = (place(3), place(1).into_iter().chain(place(2)).min());
            if channels.is_some_and(|c| pixels.is_none_or(|pixels| c < pixels)) {
                return CHANNELS_FIRST.to_vec();
            }
        }
        plain
    }

    /// The same elements in another shape, without a node; none where extents do not divide each other.
    pub(super) fn reshaped(&self, dims: &[usize]) -> Option<Self> {
        let mut out = self.clone();
        let mut queue: VecDeque<usize> = self.axes.iter().flatten().copied().collect();
        out.axes = Vec::with_capacity(dims.len());
        for (place, &extent) in dims.iter().enumerate() {
            let mut group = Vec::new();
            let mut need = extent;
            let front = queue.front().copied();
            if place == 0 && front.is_some_and(|f| self.batch == Some(f) && self.extents[f] == 1) {
                // A batch of one.
                group.extend(queue.pop_front());
            }
            while need != 1 {
                let atom = queue.pop_front()?;
                let extent = out.extents[atom];
                if extent == 0 || need == 0 {
                    return None;
                }
                if need.is_multiple_of(extent) {
                    group.push(atom);
                    need /= extent;
                } else if extent.is_multiple_of(need) && out.batch != Some(atom) {
                    let [first, rest] = out.divide(atom, need);
                    group.push(first);
                    queue.push_front(rest);
                    need = 1;
                } else {
                    return None;
                }
            }
            out.axes.push(group);
        }
        queue.is_empty().then_some(out)
    }

    /// An atom as two, the first of this extent.
    fn divide(&mut self, atom: usize, extent: usize) -> [usize; 2] {
        let rest = self.extents[atom] / extent;
        let first = self.extents.len();
        self.extents.extend([extent, rest]);
        for group in self.file.iter_mut().chain(&mut self.axes) {
            if let Some(place) = group.iter().position(|&a| a == atom) {
                group.splice(place..=place, [first, first + 1]);
            }
        }
        [first, first + 1]
    }

    /// With an axis made of parts of these extents.
    pub(super) fn split(&self, axis: usize, extents: &[usize]) -> Option<Self> {
        let mut dims = self.dims();
        dims.splice(axis..=axis, extents.iter().copied());
        let mut parts = self.reshaped(&dims)?;
        let group = parts.axes.drain(axis..axis + extents.len()).flatten().collect();
        parts.axes.insert(axis, group);
        Some(parts)
    }

    /// Our axes in another order.
    pub(super) fn permuted(&self, order: &[usize]) -> Self {
        Layout { axes: self.groups(order), ..self.clone() }
    }

    /// With axes of extent 1 before the others.
    pub(super) fn lifted(&self, rank: usize) -> Self {
        let missing = rank.saturating_sub(self.rank());
        let axes = vec![Group::new(); missing].into_iter().chain(self.axes.clone()).collect();
        Layout { axes, ..self.clone() }
    }

    /// The same with atoms counted in our order, to be compared.
    pub(super) fn counted(&self) -> Self {
        let order: Vec<usize> = self.axes.iter().flatten().copied().collect();
        let place = |atom: &usize| order.iter().position(|a| a == atom).unwrap_or(usize::MAX);
        let renamed = |groups: &[Group]| -> Vec<Group> {
            groups.iter().map(|group| group.iter().map(place).collect()).collect()
        };
        Layout {
            extents: order.iter().map(|&atom| self.extents[atom]).collect(),
            batch: self.batch.as_ref().map(place),
            axes: renamed(&self.axes),
            file: renamed(&self.file),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shuffle_is_three_axes_in_another_order() {
        let x = Layout::new(&[2, 5, 7, 6], true, &CHANNELS_FIRST);
        let split = x.reshaped(&[2, 5, 7, 3, 2]).unwrap();
        assert_eq!(split.dims(), [2, 5, 7, 3, 2]);
        let y = split.permuted(&[0, 1, 2, 4, 3]).reshaped(&[2, 5, 7, 6]).unwrap();
        assert_eq!(y.dims(), [2, 5, 7, 6]);
        assert_eq!(y.order(), CHANNELS_FIRST);
        let swapped = |g: &Group| g.iter().rev().copied().collect::<Group>();
        assert_eq!(y.groups(&CHANNELS_FIRST)[1], swapped(&y.file()[1]));
        assert!(y.is_batch(&y.axes()[0]) && y.is_batch(&y.file()[0]));
    }

    #[test]
    fn extents_of_one_are_no_atoms_and_the_batch_is_never_divided() {
        let x = Layout::new(&[2, 1, 1, 6], true, &CHANNELS_FIRST);
        let flat = x.reshaped(&[2, 6]).unwrap();
        assert_eq!(flat.file().iter().flatten().count(), 2);
        assert!(x.reshaped(&[4, 3]).is_some_and(|merged| merged.is_open(&merged.axes()[0])));
        assert!(Layout::new(&[4, 6], true, &[0, 1]).reshaped(&[2, 12]).is_none());
        assert!(Layout::new(&[4, 6], false, &[0, 1]).reshaped(&[2, 12]).is_some());
        assert!(Layout::new(&[4, 6], false, &[0, 1]).reshaped(&[3, 8]).is_none());
        let one = Layout::new(&[1, 6], true, &[0, 1]);
        assert!(one.reshaped(&[1, 2, 3]).is_some_and(|y| y.is_batch(&y.axes()[0])));
    }
}
