//! The tree against a `Vec` under seeded writes, with clones taken in between that must stay what they were.

use rand_core::{RngCore, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::*;

/// An item so large that leaves hold 8, so that a few thousand make a tree of several levels.
#[derive(Clone, Debug, PartialEq)]
struct Wide {
    key: u64,
    weight: u64,
    padding: [u64; 62],
}

impl Weigh for Wide {
    type Hint = u64;

    fn weight(&self) -> u64 {
        self.weight
    }

    fn hint(&self) -> u64 {
        self.key
    }
}

fn wide(key: u64, weight: u64) -> Wide {
    Wide { key, weight, padding: [key; 62] }
}

/// As small an item as sorted sets have.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Narrow(u64, u64);

impl Weigh for Narrow {
    type Hint = ();
    const UNIFORM: bool = true;

    fn weight(&self) -> u64 {
        1
    }

    fn hint(&self) {}
}

impl<T: Weigh<Hint: PartialEq>> Tree<T> {
    /// The invariants of the module, walked through. Returns leaves.
    fn check(&self) -> usize {
        let Some(root) = &self.root else {
            assert_eq!((self.weight, self.items, self.allocated, self.height), (0, 0, 0, 0));
            return 0;
        };
        assert!(self.height == 0 || root.len() > 1, "a root that is not needed");
        let mut sums = Sums::default();
        check_node(root, self.height, Edges::BOTH, &mut sums);
        assert_eq!((root.weight(), sums.items, sums.bytes), (self.weight, self.items, self.allocated));
        sums.leaves
    }
}

#[derive(Default)]
struct Sums {
    items: usize,
    bytes: usize,
    leaves: usize,
}

fn check_node<T: Weigh<Hint: PartialEq>>(node: &Node<T>, height: usize, edges: Edges, sums: &mut Sums) {
    assert!((1..=node.len_max()).contains(&node.len()));
    assert!(edges.first || edges.last || node.len() >= node.len_min(), "{} of {}", node.len(), node.len_max());
    sums.bytes += node.cost();
    match node {
        Node::Leaf(items) => {
            assert_eq!(height, 0);
            sums.items += items.len();
            sums.leaves += 1;
        }
        Node::Inner(children) => {
            for (index, child) in children.iter().enumerate() {
                assert_eq!(child.weight, child.node.weight());
                assert!(child.hint == child.node.first().unwrap().hint());
                check_node(&child.node, height - 1, edges.of_child(index, children.len()), sums);
            }
        }
    }
}

fn below(random: &mut Xoshiro256PlusPlus, limit: usize) -> usize {
    (random.next_u64() % limit.max(1) as u64) as usize
}

fn position_of(model: &[Wide], index: usize) -> u64 {
    model[..index].iter().map(|item| item.weight).sum()
}

/// All that can be asked, at a few places.
fn compare(tree: &Tree<Wide>, model: &[Wide], random: &mut Xoshiro256PlusPlus) {
    tree.check();
    assert_eq!((tree.items(), tree.total()), (model.len(), position_of(model, model.len())));
    assert_eq!((tree.first(), tree.last()), (model.first(), model.last()));
    assert!(tree.iter().eq(model), "forward");
    assert!(tree.iter_back_from(&tree.end()).eq(model.iter().rev()), "backward");
    for _ in 0..10 {
        let index = below(random, model.len() + 1);
        let position = position_of(model, index);
        let inside = model.get(index).map_or(0, |item| below(random, item.weight as usize) as u64);
        let (cursor, offset) = tree.seek(position + inside);
        assert_eq!((cursor.position(), offset), (position, inside));
        assert_eq!(tree.find(position + inside), model.get(index).map(|item| (item, inside)));
        assert_eq!(tree.get(&cursor), model.get(index));
        assert!(tree.iter_from(&cursor).take(30).eq(model[index..].iter().take(30)));
        assert!(tree.iter_back_from(&cursor).take(30).eq(model[..index].iter().rev().take(30)));
    }
}

/// One random write to both. `grows` of 8 insert.
fn write(tree: &mut Tree<Wide>, model: &mut Vec<Wide>, grows: usize, key: u64, random: &mut Xoshiro256PlusPlus) {
    let item = wide(key, 1 + random.next_u64() % 5);
    let index = below(random, model.len() + 1);
    let cursor = tree.seek(position_of(model, index)).0;
    if below(random, 8) < grows {
        match below(random, 4) {
            0 => (tree.push_back(item.clone()), model.push(item)).1,
            1 => (tree.push_front(item.clone()), model.insert(0, item)).1,
            _ => (tree.insert(&cursor, item.clone()), model.insert(index, item)).1,
        }
        return;
    }
    match below(random, 8) {
        0 => assert_eq!(tree.pop_front(), (!model.is_empty()).then(|| model.remove(0))),
        1 => assert_eq!(tree.pop_back(), model.pop()),
        2 if below(random, 20) == 0 => {
            let end = index + below(random, model.len() + 1 - index);
            let mut removed = Vec::new();
            tree.remove_range(position_of(model, index)..position_of(model, end), |item| removed.push(item));
            assert!(model.drain(index..end).eq(removed));
        }
        3 | 4 if index < model.len() => {
            model[index].weight = item.weight;
            model[index].key = key;
            tree.edit(&cursor, |item| (item.weight, item.key) = (model[index].weight, key));
        }
        _ => assert_eq!(tree.remove(&cursor), (index < model.len()).then(|| model.remove(index))),
    }
}

#[test]
fn a_tree_is_a_vec_and_its_clones_stay_what_they_were() {
    for seed in 0..6 {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        let (mut tree, mut model) = (Tree::new(), Vec::new());
        let mut clones: Vec<(Tree<Wide>, Vec<Wide>)> = Vec::new();
        for step in 0..6000u64 {
            // Grows for a while, then shrinks to nothing.
            let grows = if step < 4000 { 6 } else { 1 };
            write(&mut tree, &mut model, grows, step, &mut random);
            if below(&mut random, 300) == 0 {
                compare(&tree, &model, &mut random);
                if clones.len() == 3 {
                    let (tree, model) = clones.swap_remove(below(&mut random, 3));
                    compare(&tree, &model, &mut random);
                }
                clones.push((tree.clone(), model.clone()));
            }
        }
        // A clone is written to as well as its original.
        for (mut tree, mut model) in clones {
            for step in 0..200 {
                write(&mut tree, &mut model, 4, step, &mut random);
            }
            compare(&tree, &model, &mut random);
        }
    }
}

#[test]
fn searches_find_by_hints_and_by_items_alike() {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(7);
    let (mut tree, mut model) = (Tree::new(), Vec::<Wide>::new());
    for step in 0..3000 {
        // Keys from few, told apart by what the hint doesn't show.
        let mut item = wide(random.next_u64() % 40, 1 + random.next_u64() % 3);
        item.padding[0] = random.next_u64();
        let before = |other: &Wide| (other.key, other.padding[0]) < (item.key, item.padding[0]);
        let index = model.partition_point(before);
        let by_items = tree.partition_point(before);
        let by_hints = tree.search(|key| (key != item.key).then_some(key < item.key), before);
        assert_eq!((by_items.position(), by_items.path), (by_hints.position(), by_hints.path));
        assert_eq!(by_hints.position(), position_of(&model, index));
        assert_eq!(tree.get(&by_hints), model.get(index));
        if step % 5 == 4 && index < model.len() {
            assert_eq!(tree.remove(&by_hints), Some(model.remove(index)));
        } else {
            tree.insert(&by_hints, item.clone());
            model.insert(index, item);
        }
    }
    compare(&tree, &model, &mut random);
}

#[test]
fn removing_everything_in_any_order_leaves_nothing() {
    for seed in 0..4 {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut model: Vec<_> = (0..9000).map(|key| wide(key, 1)).collect();
        let mut tree: Tree<_> = model.iter().cloned().collect();
        assert!(tree.height >= 2);
        while !model.is_empty() {
            let from = below(&mut random, model.len());
            let to = match seed {
                0 => from + 1,
                1 => model.len().min(from + 1 + below(&mut random, 300)),
                2 => model.len().min(from + 12),
                _ => from + 1 + below(&mut random, model.len() - from),
            };
            let mut removed = Vec::new();
            tree.remove_range(from as u64..to as u64, |item| removed.push(item));
            assert!(model.drain(from..to).eq(removed));
            if below(&mut random, 100) == 0 || model.len() < 20 {
                compare(&tree, &model, &mut random);
            }
        }
        assert_eq!(tree.allocated(), 0);
    }
}

#[test]
fn nodes_stay_full_where_items_come_at_an_end_and_two_thirds_full_where_they_come_anywhere() {
    let items = 100_000;
    let fill = |tree: &Tree<Narrow>| items as f64 / (tree.check() * Node::<Narrow>::ITEMS_MAX) as f64;
    let (mut back, mut front, mut anywhere) = (Tree::new(), Tree::new(), Tree::new());
    let mut random = Xoshiro256PlusPlus::seed_from_u64(1);
    for key in 0..items {
        back.push_back(Narrow(key, 0));
        front.push_front(Narrow(key, 0));
        let place = anywhere.seek(random.next_u64() % (key + 1)).0;
        anywhere.insert(&place, Narrow(key, 0));
    }
    assert!(fill(&back) > 0.99 && fill(&front) > 0.99, "{} {}", fill(&back), fill(&front));
    assert!(fill(&anywhere) > 0.66, "{}", fill(&anywhere));
    for (tree, bytes_max) in [(&back, 17.5), (&front, 17.5), (&anywhere, 22.0)] {
        let bytes = tree.allocated() as f64 / items as f64;
        assert!(bytes < bytes_max, "{bytes} bytes an item");
    }
}

#[test]
fn a_small_tree_costs_little_and_a_shrunk_one_gives_back() {
    let mut tree: Tree<_> = (0..10).map(|key| Narrow(key, 0)).collect();
    assert!(tree.allocated() <= 48 + 208, "{}", tree.allocated());
    tree.extend((10..20_000).map(|key| Narrow(key, 0)));
    tree.remove_range(5..19_995, |_| ());
    tree.check();
    assert_eq!(tree.items(), 10);
    assert!(tree.allocated() <= 1024, "{}", tree.allocated());
}

#[test]
fn a_write_copies_its_path_only() {
    let mut tree: Tree<_> = (0..100_000).map(|key| Narrow(key, 0)).collect();
    let clone = tree.clone();
    tree.edit(&clone.seek(50_000).0, |item| item.1 = 1);
    assert_eq!((tree.find(50_000), clone.find(50_000)), (Some((&Narrow(50_000, 1), 0)), Some((&Narrow(50_000, 0), 0))));
    let shared = |tree: &Tree<Narrow>| {
        let Some(Node::Inner(children)) = tree.root.as_deref() else { panic!("a small tree") };
        children.iter().filter(|child| Arc::strong_count(&child.node) == 2).count()
    };
    let Some(Node::Inner(children)) = tree.root.as_deref() else { panic!("a small tree") };
    assert_eq!(shared(&tree), children.len() - 1);
    tree.check();
    assert_eq!(tree.allocated(), clone.allocated());
    drop(clone);
    assert_eq!(shared(&tree), 0);
}

#[test]
fn places_at_the_ends_and_in_an_empty_tree() {
    let mut tree = Tree::new();
    assert_eq!((tree.first(), tree.last(), tree.find(0), tree.get(&tree.end())), (None, None, None, None));
    assert_eq!((tree.pop_front(), tree.pop_back(), tree.remove(&tree.start())), (None, None, None));
    assert_eq!(tree.seek(3).1, 3);
    tree.remove_range(0..0, |_| ());
    tree.push_back(Narrow(1, 0));
    assert_eq!(tree.remove(&tree.end()), None);

    assert_eq!((tree.get(&tree.start()), tree.get(&tree.end())), (Some(&Narrow(1, 0)), None));
}

#[test]
#[should_panic(expected = "a range that ends inside an item")]
fn ranges_end_between_items() {
    let mut tree: Tree<_> = (0..10).map(|key| wide(key, 3)).collect();
    tree.remove_range(0..4, |_| ());
}
