//! Where things go: a layered layout of one level, from top to bottom.
//!
//! The classical four steps (Sugiyama, Tagawa, Toda 1981): edges that close a cycle are turned round; each box gets a layer by its longest path from the start; the boxes of a layer are ordered by where their neighbours are, a few sweeps down and up; then each layer is placed as near to its neighbours as the widths allow. Between two layers of boxes lies one for labels, so that no label covers anything. Pure arithmetic on sizes: no drawing, no names.

/// A place, from the top left.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: f64,
}

/// Width and height.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Size {
    pub(super) width: f64,
    pub(super) height: f64,
}

/// A way from one box to another, with room for its label.
#[derive(Debug, Clone, Copy)]
pub(super) struct Link {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) label: Option<Size>,
}

/// The way of a link and the middle of its label.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Route {
    pub(super) points: Vec<Point>,
    pub(super) label: Point,
}

/// A finished layout.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Layout {
    /// The middle of each box.
    pub(super) middles: Vec<Point>,
    /// The way of each link.
    pub(super) routes: Vec<Route>,
    pub(super) size: Size,
}

/// Between two boxes of a layer.
const GAP_X: f64 = 24.0;
/// Between two layers.
const GAP_Y: f64 = 18.0;
/// Between two ways along the right-hand side.
const LANE: f64 = 14.0;
/// A way over more layers than this runs along the right-hand side, so that the layout of n boxes takes no more than some multiple of n.
const SPAN_MAX: usize = 40;
/// Sweeps over all layers, for order and for places each.
const SWEEPS: usize = 8;

/// Lays out boxes and links.
pub(super) fn place(boxes: &[Size], links: &[Link]) -> Layout {
    let forward = break_cycles(boxes.len(), links);
    let ranks = ranks(boxes.len(), &forward);
    let mut layers = Layers::new(boxes, links, &forward, &ranks);
    layers.order();
    layers.place();
    layers.finish(boxes.len(), links, &forward)
}

/// A link with its ends in layered order; `None` for one from a box to itself.
#[derive(Debug, Clone, Copy)]
struct Forward {
    upper: usize,
    lower: usize,
    is_turned: bool,
}

/// Turns every link round that leads back to a box which is still being visited from above.
fn break_cycles(count: usize, links: &[Link]) -> Vec<Option<Forward>> {
    let mut ways: Vec<Vec<usize>> = vec![Vec::new(); count];
    for (index, link) in links.iter().enumerate() {
        ways[link.from].push(index);
    }
    let mut forward: Vec<Option<Forward>> =
        links.iter().map(|link| (link.from != link.to).then_some(Forward { upper: link.from, lower: link.to, is_turned: false })).collect();
    let (mut is_open, mut is_seen) = (vec![false; count], vec![false; count]);
    for root in 0..count {
        if is_seen[root] {
            continue;
        }
        // An explicit stack: a definition may have ten thousand states in a row.
        let mut stack = vec![(root, 0)];
        (is_open[root], is_seen[root]) = (true, true);
        while let Some(top) = stack.last_mut() {
            let (at, next) = *top;
            top.1 += 1;
            let Some(&link) = ways[at].get(next) else {
                is_open[at] = false;
                stack.pop();
                continue;
            };
            let to = links[link].to;
            if is_open[to] {
                if let Some(way) = &mut forward[link] {
                    *way = Forward { upper: to, lower: at, is_turned: true };
                }
            } else if !is_seen[to] {
                (is_open[to], is_seen[to]) = (true, true);
                stack.push((to, 0));
            }
        }
    }
    forward
}

/// The layer of each box: twice its longest path from above, which leaves every odd layer to labels.
fn ranks(count: usize, forward: &[Option<Forward>]) -> Vec<usize> {
    let mut above = vec![0_usize; count];
    let mut below: Vec<Vec<usize>> = vec![Vec::new(); count];
    for way in forward.iter().flatten() {
        above[way.lower] += 1;
        below[way.upper].push(way.lower);
    }
    let mut ranks = vec![0; count];
    let mut ready: Vec<usize> = (0..count).filter(|&index| above[index] == 0).collect();
    while let Some(at) = ready.pop() {
        for &lower in &below[at] {
            ranks[lower] = ranks[lower].max(ranks[at] + 2);
            above[lower] -= 1;
            if above[lower] == 0 {
                ready.push(lower);
            }
        }
    }
    ranks
}

/// A box, or a place that a way passes through.
#[derive(Debug, Clone, Default)]
struct Vertex {
    size: Size,
    x: f64,
    upper: Vec<usize>,
    lower: Vec<usize>,
}

/// Boxes and places by layer, in order.
#[derive(Debug)]
struct Layers {
    vertices: Vec<Vertex>,
    layers: Vec<Vec<usize>>,
    rank_of: Vec<usize>,
    /// The places that each link passes through, from above; `None` for one along the side.
    passes: Vec<Option<Vec<usize>>>,
}

impl Layers {
    fn new(boxes: &[Size], links: &[Link], forward: &[Option<Forward>], ranks: &[usize]) -> Self {
        let vertices = boxes.iter().map(|&size| Vertex { size, ..Vertex::default() }).collect();
        let mut made = Self { vertices, layers: Vec::new(), rank_of: ranks.to_vec(), passes: Vec::new() };
        for (link, way) in links.iter().zip(forward) {
            let passes = match way {
                Some(way) if ranks[way.lower] - ranks[way.upper] <= SPAN_MAX => Some(made.pass(link, *way)),
                _ => None,
            };
            made.passes.push(passes);
        }
        made.layers = vec![Vec::new(); made.rank_of.iter().max().map_or(0, |last| last + 1)];
        for (vertex, &rank) in made.rank_of.iter().enumerate() {
            made.layers[rank].push(vertex);
        }
        made
    }

    /// Makes the places between the two ends of a way; the first one has room for the label.
    fn pass(&mut self, link: &Link, way: Forward) -> Vec<usize> {
        let mut passes = Vec::new();
        let mut upper = way.upper;
        for rank in self.rank_of[way.upper] + 1..self.rank_of[way.lower] {
            let size = if passes.is_empty() { link.label.unwrap_or_default() } else { Size::default() };
            let vertex = self.vertices.len();
            self.vertices.push(Vertex { size, ..Vertex::default() });
            self.rank_of.push(rank);
            self.connect(upper, vertex);
            passes.push(vertex);
            upper = vertex;
        }
        self.connect(upper, way.lower);
        passes
    }

    fn connect(&mut self, upper: usize, lower: usize) {
        self.vertices[upper].lower.push(lower);
        self.vertices[lower].upper.push(upper);
    }

    /// Orders each layer by the mean place of the neighbours.
    fn order(&mut self) {
        let mut places = vec![0.0; self.vertices.len()];
        let renumber = |layer: &[usize], places: &mut [f64]| {
            for (index, &vertex) in layer.iter().enumerate() {
                places[vertex] = as_f64(index);
            }
        };
        for layer in &self.layers {
            renumber(layer, &mut places);
        }
        for sweep in 0..SWEEPS {
            let is_down = sweep % 2 == 0;
            for index in 0..self.layers.len() {
                let rank = if is_down { index } else { self.layers.len() - 1 - index };
                let mut keyed: Vec<(f64, usize)> = self.layers[rank]
                    .iter()
                    .map(|&vertex| {
                        let neighbours = if is_down { &self.vertices[vertex].upper } else { &self.vertices[vertex].lower };
                        (mean(neighbours.iter().map(|&other| places[other])).unwrap_or(places[vertex]), vertex)
                    })
                    .collect();
                // Stable, so that equals stay in the order of the text.
                keyed.sort_by(|one, other| one.0.total_cmp(&other.0));
                self.layers[rank] = keyed.into_iter().map(|(_, vertex)| vertex).collect();
                renumber(&self.layers[rank], &mut places);
            }
        }
    }

    /// Places each layer as near to its neighbours as widths allow.
    fn place(&mut self) {
        for rank in 0..self.layers.len() {
            self.place_layer(rank, |_| None);
        }
        for sweep in 0..SWEEPS {
            let is_down = sweep % 2 == 0;
            for index in 0..self.layers.len() {
                let rank = if is_down { index } else { self.layers.len() - 1 - index };
                self.place_layer(rank, |vertex| Some(if is_down { &vertex.upper } else { &vertex.lower }));
            }
        }
    }

    /// Places one layer: of all places that keep order and distance, those with the least squared distance from where the neighbours want them.
    fn place_layer(&mut self, rank: usize, neighbours: impl Fn(&Vertex) -> Option<&Vec<usize>>) {
        // With the distances taken off, keeping them means not to descend: isotonic regression by pooling adjacent violators.
        let mut blocks: Vec<(f64, usize)> = Vec::new();
        let mut offsets = Vec::new();
        let mut offset = 0.0;
        let mut before = None;
        for &vertex in &self.layers[rank] {
            let here = &self.vertices[vertex];
            let half = here.size.width / 2.0;
            if let Some(half_before) = before {
                offset += half_before + GAP_X + half;
            }
            before = Some(half);
            let wanted = neighbours(here).and_then(|others| mean(others.iter().map(|&other| self.vertices[other].x))).unwrap_or(here.x);
            offsets.push(offset);
            blocks.push((wanted - offset, 1));
            while let [.., (lower, few), (upper, many)] = blocks.as_slice()
                && lower > upper
            {
                let pooled = ((lower * as_f64(*few) + upper * as_f64(*many)) / as_f64(few + many), few + many);
                blocks.truncate(blocks.len() - 2);
                blocks.push(pooled);
            }
        }
        let values = blocks.into_iter().flat_map(|(value, count)| std::iter::repeat_n(value, count));
        for ((&vertex, value), offset) in self.layers[rank].iter().zip(values).zip(offsets) {
            self.vertices[vertex].x = value + offset;
        }
    }

    fn finish(mut self, count: usize, links: &[Link], forward: &[Option<Forward>]) -> Layout {
        let left = self.vertices.iter().map(|vertex| vertex.x - vertex.size.width / 2.0).fold(f64::INFINITY, f64::min);
        for vertex in &mut self.vertices {
            vertex.x -= left;
        }
        let mut width = self.vertices.iter().map(|vertex| vertex.x + vertex.size.width / 2.0).fold(0.0, f64::max);
        let mut ys = Vec::new();
        let mut y = 0.0;
        for layer in &self.layers {
            let height = layer.iter().map(|&vertex| self.vertices[vertex].size.height).fold(0.0, f64::max);
            ys.push(y + height / 2.0);
            y += height + GAP_Y;
        }
        let middle = |vertex: usize| Point { x: self.vertices[vertex].x, y: ys[self.rank_of[vertex]] };
        let mut routes = Vec::new();
        for ((link, way), passes) in links.iter().zip(forward).zip(&self.passes) {
            let (from, to) = (middle(link.from), middle(link.to));
            let label_width = link.label.map_or(0.0, |label| label.width);
            let route = match (way, passes) {
                (Some(way), Some(passes)) => self.through(*way, passes, middle),
                (way, _) => {
                    let lane = width + LANE;
                    width = lane + label_width;
                    let ends = [(from, self.vertices[link.from].size), (to, self.vertices[link.to].size)];
                    beside(ends, lane, label_width, way.is_none())
                }
            };
            routes.push(route);
        }
        Layout { middles: (0..count).map(middle).collect(), routes, size: Size { width, height: (y - GAP_Y).max(0.0) } }
    }

    /// The way of a link from the lower side of one box through its places to the upper side of the other.
    fn through(&self, way: Forward, passes: &[usize], middle: impl Fn(usize) -> Point) -> Route {
        let side = |vertex: usize, neighbours: &[usize], next: usize, sign: f64| {
            let (at, size) = (middle(vertex), self.vertices[vertex].size);
            // Ways that share a side are spread over its middle part, in the order of where they go.
            let left = neighbours
                .iter()
                .filter(|&&other| self.vertices[other].x < self.vertices[next].x || (self.vertices[other].x <= self.vertices[next].x && other < next));
            let share = (as_f64(left.count()) + 0.5) / as_f64(neighbours.len().max(1)) - 0.5;
            Point { x: at.x + share * size.width * 0.5, y: at.y + sign * size.height / 2.0 }
        };
        let first = passes.first().copied().unwrap_or(way.lower);
        let last = passes.last().copied().unwrap_or(way.upper);
        let mut points = vec![side(way.upper, &self.vertices[way.upper].lower, first, 1.0)];
        points.extend(passes.iter().map(|&pass| middle(pass)));
        points.push(side(way.lower, &self.vertices[way.lower].upper, last, -1.0));
        let label = middle(first);
        if way.is_turned {
            points.reverse();
        }
        Route { points, label }
    }
}

/// A way along the right-hand side, or round one corner of a box for a link to itself.
fn beside([(from, from_size), (to, to_size)]: [(Point, Size); 2], lane: f64, label_width: f64, is_loop: bool) -> Route {
    let shift = if is_loop { from_size.height / 4.0 } else { 0.0 };
    let start = Point { x: from.x + from_size.width / 2.0, y: from.y + shift };
    let end = Point { x: to.x + to_size.width / 2.0, y: to.y - shift };
    let points = vec![start, Point { x: lane, y: start.y }, Point { x: lane, y: end.y }, end];
    Route { points, label: Point { x: lane + label_width / 2.0, y: f64::midpoint(start.y, end.y) } }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / as_f64(count))
}

fn as_f64(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOX: Size = Size { width: 100.0, height: 40.0 };

    fn link(from: usize, to: usize) -> Link {
        Link { from, to, label: None }
    }

    fn laid_out(count: usize, links: &[Link]) -> Layout {
        let layout = place(&vec![BOX; count], links);
        for (index, one) in layout.middles.iter().enumerate() {
            for other in &layout.middles[index + 1..] {
                let apart = (one.x - other.x).abs() >= BOX.width || (one.y - other.y).abs() >= BOX.height;
                assert!(apart, "two boxes overlap: {one:?} and {other:?}");
            }
            assert!(one.x >= BOX.width / 2.0 && one.x <= layout.size.width - BOX.width / 2.0, "{one:?} is outside of {:?}", layout.size);
        }
        layout
    }

    #[test]
    fn what_follows_is_below() {
        let layout = laid_out(4, &[link(0, 1), link(0, 2), link(1, 3), link(2, 3)]);
        assert!(layout.middles[0].y < layout.middles[1].y && layout.middles[1].y < layout.middles[3].y);
        assert!((layout.middles[1].y - layout.middles[2].y).abs() < 1e-9);
        assert!((layout.middles[0].x - layout.middles[3].x).abs() < 1e-9, "the rhombus is symmetric");
    }

    #[test]
    fn a_cycle_ends_where_it_began() {
        let layout = laid_out(3, &[link(0, 1), link(1, 2), link(2, 0)]);
        let back = &layout.routes[2];
        assert!(back.points.first().expect("points").y > back.points.last().expect("points").y, "it leads upwards");
    }

    #[test]
    fn a_link_to_itself_is_beside_its_box() {
        let layout = laid_out(1, &[link(0, 0)]);
        assert!(layout.size.width > BOX.width);
        assert_eq!(layout.routes[0].points.len(), 4);
    }

    #[test]
    fn ten_thousand_boxes_in_a_row_with_a_common_end_take_no_stack_and_little_time() {
        let last = 9_999;
        let links: Vec<_> = (0..last).flat_map(|index| [link(index, index + 1), link(index, last)]).collect();
        let layout = place(&vec![BOX; last + 1], &links);
        assert_eq!(layout.routes.len(), links.len());
    }
}
