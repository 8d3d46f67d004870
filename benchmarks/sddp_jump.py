"""What `sddp`'s policy costs from one iteration to the next on the Bolivian system, and where its cuts miss a jump.

python benchmarks/sddp_jump.py [--seeds 3] [--iterations 100] [--paths 10]
"""

from __future__ import annotations

import argparse
from copy import copy, deepcopy

import numpy as np
import record

import orl
from orl.problems.hydrothermal.stages import columns, stages
from orl.scenario import Purpose, generator
from orl.solvers.sddp.train import Sddp

FIRST = 41  # iteration from which policies are simulated
BEFORE = 59  # iteration of seed 0 before the jump
KEEP_EVERY = 10
YEAR = 52  # weeks
SLACKS = (0.01, 5.0)  # USD a stage within which decisions count as ties
NEAR = 5.0  # hm3
DRY = 38  # the last stage of the first dry season


class Line:
    """Policies on a line of stages, with paired paths: noises by number, one a stage."""

    def __init__(self, graph, count):
        self.graph, self.paths = graph, []
        for path in range(count):
            rng = np.random.default_rng(path)
            self.paths.append([rng.choice(len(s.probabilities), p=s.probabilities) for s in graph.stages])

    def follow(self, sddp, path):
        state, visits = self.graph.initial, []
        for node, noise in zip(sddp.nodes, self.paths[path], strict=True):
            visits.append(node.draw(state, noise))
            state = visits[-1].outgoing
        return visits

    def ways(self, sddp):
        return [self.follow(sddp, path) for path in range(len(self.paths))]


def costs(ways):
    return np.array([[visit.cost for visit in visits] for visits in ways])


def future(node, visit):
    """Return what the cuts say of the future of a decision."""
    pool = node.pools[0]
    return float((pool.gradients @ visit.outgoing + pool.intercepts).max())


def missed(sddp, ways):
    """Return by how much the futures that decisions believe in lie below what comes of them, by path and stage."""
    gaps = np.zeros((len(ways), len(sddp.nodes) - 1))
    for path, visits in enumerate(ways):
        for stage, visit in enumerate(visits[:-1]):
            node, after = sddp.nodes[stage], sddp.nodes[stage + 1]
            values = [child.value for child in after.draws(visit.outgoing)]
            gaps[path, stage] = after.stage.probabilities @ values - future(node, visit)
    return gaps


class Leaning:
    """A node that takes, of decisions within a slack of the optimum, the one that leaves most in a reservoir, or least.

    Parameters
    ----------
    sign : -1 for most, 1 for least
    """

    def __init__(self, node, column, sign, slack):
        self.node, self.program, self.slack = node, copy(node.program), slack
        self.cost = np.append(node.stage.cost, np.ones(len(node.pools)))  # nothing is discounted
        self.columns, self.row = np.arange(len(self.cost)), self.program.num_rows
        self.other = sign * (self.columns == column)
        self.program.add_row(-np.inf, np.inf, self.columns, self.cost)

    def draw(self, state, number):
        """Return the decision at a state that comes in, for the number of a noise."""
        stage, program, by = self.node.stage, self.program, self.node.stage.noises[number]
        rows = stage.noise_rows
        program.set_columns(stage.incoming, state, state)
        program.set_rows(rows, stage.row_lower[rows] + by, stage.row_upper[rows] + by)
        program.set_rows([self.row], [-np.inf], [np.inf])
        program.set_costs(self.columns, self.cost)
        least = program.solve().value
        program.set_rows([self.row], [-np.inf], [least + self.slack])
        program.set_costs(self.columns, self.other)
        return program.solve().columns[: len(stage.cost)]


def leaning(line, sddp, largest, sign, slack):
    """Return what a policy costs that leans to one side, and what it has in stock after `DRY`; means."""
    nodes = [Leaning(node, node.stage.outgoing[largest], sign, slack) for node in sddp.nodes]
    paid, stocks = [], []
    for path in line.paths:
        state, cost = line.graph.initial, 0.0
        for number, (node, noise) in enumerate(zip(nodes, path, strict=True)):
            decision = node.draw(state, noise)
            cost, state = cost + node.node.stage.cost @ decision, decision[node.node.stage.outgoing]
            if number == DRY:
                stocks.append(state[largest])
        paid.append(cost)
    return np.mean(paid), np.mean(stocks)


def price(node, visit, largest):
    """Return what the cuts say that a hm3 more in the largest reservoir is worth after a decision."""
    pool = node.pools[0]
    return -pool.gradients[highest(node, visit), largest]


def highest(node, visit):
    """Return the number of the cut that is highest at what a decision leaves: with all cuts, of the pass from 0."""
    pool = node.pools[0]
    return int((pool.gradients @ visit.outgoing + pool.intercepts).argmax())


def apart(line, old, new, ways, largest):
    """Return how far decisions of two policies are apart at the states of one, and what either says they cost."""
    rows = []
    for path, visits in enumerate(ways):
        for stage in range(1, len(visits) - 1):
            one, node = visits[stage], new.nodes[stage]
            other = node.draw(visits[stage - 1].outgoing, line.paths[path][stage])
            by_old = other.cost + future(old.nodes[stage], other) - one.value
            by_new = one.cost + future(node, one) - other.value
            rows.append((stage, other.outgoing[largest] - one.outgoing[largest], other.cost - one.cost, by_old, by_new))
    return np.array(rows)


def main():
    """Measure and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=100)
    parser.add_argument("--paths", type=int, default=10, help="to simulate on, and as many to choose a policy by")
    arguments = parser.parse_args()
    instance = orl.load("hydrothermal/bolivia")
    graph, at, paths = stages(instance), columns(instance), arguments.paths
    largest = int(np.argmax(instance.reservoirs.max_hm3))
    line = Line(graph, 2 * paths)
    by_iteration, jumps, choices, kept, trials = {}, [], [], {}, []
    for seed in range(arguments.seeds):
        # The twin holds all cuts and is simulated; training goes on as if nobody had looked.
        sddp, twin, rng = Sddp(graph), Sddp(graph, selects=False), generator(seed, Purpose.TRAIN, 0)
        means, halves = {}, {}
        for iteration in range(1, arguments.iterations + 1):
            _, cuts = sddp.make_pass(rng)
            sddp.end_round()
            bound = sddp.bound()
            twin.end_round([cuts])
            if seed == 0:
                trials.append({cut.node: cut.state[largest] for cut in cuts})
            if iteration < FIRST:
                continue
            ways = line.ways(twin)
            paid = costs(ways).sum(axis=1)
            means[iteration], halves[iteration] = paid.mean(), (paid[:paths].mean(), paid[paths:].mean())
            by_iteration.setdefault(iteration, []).append((bound, paid.mean()))
            print(seed, iteration, f"{bound:.1f} {paid.mean():.1f}", flush=True)
            if seed == 0 and iteration in (BEFORE, BEFORE + 1):
                kept[iteration] = (deepcopy(twin), ways, twin.bound())
        rises = {k: means[k] - means[k - 1] for k in means if k > FIRST}
        worst = max(rises, key=rises.get)
        back = [k for k in means if k > worst and means[k] <= means[worst - 1]]
        others = sorted((rise for k, rise in rises.items() if k != worst), reverse=True)
        jumps.append([seed, worst, f"{rises[worst]:.0f}", back[0] if back else "not yet", f"{others[0]:.0f}",
                      f"{means[arguments.iterations]:.0f}", f"{bound:.0f}"])  # fmt: skip
        # The policies of every tenth iteration and the last: the cheapest on half of the paths, judged by the others.
        last, best = [], []
        for end in range(FIRST + KEEP_EVERY, arguments.iterations + 1):
            stored = [*(k for k in halves if k < end and k % KEEP_EVERY == 0), end]
            last.append(halves[end][1])
            best.append(halves[min(stored, key=lambda k: halves[k][0])][1])
        choices.append([seed, f"{np.mean(last):.0f}", f"{np.mean(best):.0f}", f"{max(last):.0f}", f"{max(best):.0f}"])

    (old, ways_old, bound_old), (new, ways_new, bound_new) = kept[BEFORE], kept[BEFORE + 1]
    both = ((ways_old, missed(old, ways_old), bound_old), (ways_new, missed(new, ways_new), bound_new))
    by_quarter = []
    for first in range(0, len(graph.stages), YEAR // 4):
        part, row = slice(first, first + YEAR // 4), [f"{first}-{min(first + YEAR // 4, len(graph.stages)) - 1}"]
        for ways, gaps, _ in both:
            stock = np.mean([[visit.outgoing[largest] for visit in visits[part]] for visits in ways])
            spill = np.sum([[visit.columns[at.spill].sum() for visit in visits[part]] for visits in ways]) / len(ways)
            row += [f"{stock:.1f}", f"{spill:.1f}", f"{costs(ways)[:, part].sum(axis=1).mean():.0f}",
                    f"{gaps[:, part].sum(axis=1).mean():.0f}"]  # fmt: skip
        by_quarter.append(row)
    sums = [
        [BEFORE + place, f"{bound:.0f}", f"{gaps.sum(axis=1).mean():.0f}", f"{bound + gaps.sum(axis=1).mean():.0f}",
         f"{costs(ways).sum(axis=1).mean():.0f}", f"{gaps.min():.1g}"]
        for place, (ways, gaps, bound) in enumerate(both)
    ]  # fmt: skip
    rows = apart(line, old, new, ways_old, largest)
    ties = []
    for first, end in ((1, 10), (10, 36), (36, 60), (60, 125)):
        part = rows[(rows[:, 0] >= first) & (rows[:, 0] < end)]
        ties.append([f"{first}-{end - 1}", f"{part[:, 1].mean():.2f}", f"{part[:, 2].mean():.1f}",
                     *(f"{value:.2f}" for value in (part[:, 3].mean(), part[:, 3].max(), part[:, 4].mean(),
                                                    part[:, 4].max()))])  # fmt: skip
    prices = [
        [stage, *(f"{np.median([price(s.nodes[stage], w[stage], largest) for w in ways_old]):.3f}" for s in (old, new))]
        for stage in range(12, 60, 4)
    ]
    leans = []
    for place, sddp in enumerate((old, new)):
        for slack in SLACKS:
            means = [f"{mean:.1f}" for sign in (-1, 1) for mean in leaning(line, sddp, largest, sign, slack)]
            leans.append([BEFORE + place, slack, *means])
    sources = []
    for first, end in ((36, 46), (46, 50), (50, 54), (54, 57), (57, 60), (60, 65)):
        stock, made, early, near = [], [], [], []
        for stage in range(first, end):
            for visits in ways_new:
                stock.append(visits[stage].outgoing[largest])
                source = highest(new.nodes[stage], visits[stage])
                made.append(trials[source][stage])
                early.append(source < 10)
                near.append(sum(trial[stage] >= stock[-1] - NEAR for trial in trials[:BEFORE]))
        less = both[1][1][:, first:end].sum(axis=1).mean()
        means = (f"{np.mean(x):.1f}" for x in (stock, made, near))
        sources.append([f"{first}-{end - 1}", f"{less:.0f}", *means, f"{100 * np.mean(early):.0f}"])
    name, sides = instance.reservoirs.names[largest], (BEFORE, BEFORE + 1)
    record.write(
        "sddp_jump",
        "Policies of SDDP from one iteration to the next",
        [
            (f"The largest rise of the policy's mean cost in one iteration, from {FIRST} to {arguments.iterations}, "
             f"and when the mean is back; {2 * paths} paired paths, all cuts.",
             ["seed", "iteration", "rise", "back at", "next largest rise", "cost at the end", "bound"], jumps),
            (f"Seed 0 at iterations {BEFORE} and {BEFORE + 1}: the bound, what cuts miss on the way (the mean value of "
             "the next stage less the future believed in, summed), their sum, the mean cost simulated, and the least "
             "that is missed at a state.",
             ["iteration", "bound", "missed", "sum", "cost", "least"], sums),
            (f"The same by stages, a path: stock of {name} in hm3, spill of all reservoirs in hm3, cost, missed.",
             ["stages", *(f"{what} {side}" for side in sides for what in ("stock", "spill", "cost", "missed"))],
             by_quarter),
            (f"Decisions of both policies at the states of {BEFORE}, by stages: how much more {name} keeps and what "
             f"that costs at once by {BEFORE + 1}, mean; by how much that is dearer by the cuts of {BEFORE}, and the "
             f"decision of {BEFORE} by the cuts of {BEFORE + 1}.",
             ["stages", "hm3 more", "USD more", f"dearer by {BEFORE}", "most", f"dearer by {BEFORE + 1}", "most"],
             ties),
            (f"What a hm3 of {name} is worth after a stage by the cuts of both, USD; median of the states of {BEFORE}.",
             ["stage", *sides], prices),
            (f"Cost, and stock of {name} after stage {DRY}, if of decisions within so many USD of the optimum that is "
             "taken which keeps most of it, or least.",
             ["iteration", "USD", "cost, most", "stock, most", "cost, least", "stock, least"], leans),
            (f"Where the cuts are from that are highest at the states of {BEFORE + 1}, by stages: missed a path, stock "
             f"of {name} at the states and at those the cuts were made at, how many of {BEFORE} passes had as much "
             f"or {NEAR:g} hm3 less, share of the cuts that are of the first ten passes in %.",
             ["stages", "missed", "stock", "stock of cut", "passes", "first ten"], sources),
            (f"Cost of the last policy, and of the cheapest of those of every {KEEP_EVERY} iterations and the last, "
             f"chosen on {paths} paths, judged on {paths} others; mean and highest over all ends from "
             f"{FIRST + KEEP_EVERY} to {arguments.iterations} iterations.",
             ["seed", "last", "kept", "last, highest", "kept, highest"], choices),
            ("Bound and mean cost by iteration.",
             ["iteration", *(f"{what} {seed}" for seed in range(arguments.seeds) for what in ("bound", "cost"))],
             [[k, *(f"{x:.0f}" for pair in pairs for x in pair)] for k, pairs in by_iteration.items()]),
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
