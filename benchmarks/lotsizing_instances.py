"""Write the generated lot-sizing instances: `python benchmarks/lotsizing_instances.py`.

Three of each of the literature's sizes (items x machines), by `orl.problems.lotsizing.scenario.draw` with the seed
(items, machines, number). They are kept in the repository; this script says how they came about.
"""

from __future__ import annotations

import numpy as np

from orl.files import instance_folder
from orl.problems.lotsizing.formats import save
from orl.problems.lotsizing.scenario import draw

SIZES = ((15, 5), (20, 10), (25, 10), (25, 15))


def main() -> None:
    for items, machines in SIZES:
        for number, letter in enumerate("abc"):
            name = f"{items}x{machines}-{letter}"
            instance = draw(np.random.default_rng([items, machines, number]), items, machines, name=name)
            save(instance, instance_folder("lotsizing") / f"{name}.toml")


if __name__ == "__main__":
    main()
