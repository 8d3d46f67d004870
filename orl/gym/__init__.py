"""The Gymnasium face of every family: `import orl.gym` registers orl/JobShop-v0 and its like, single and vector.

An environment step is a whole decision: `decide`, then `reveal`. The reward is minus the cost of both. Both
environments take and tell the same.

instance
    A name, a path or a loaded instance; a sequence of these, one drawn for each episode; or a function of a random
    generator (`numpy.random.Generator`) that makes one for each episode.
settings
    What `--set` would change about instances given by name or path.
purpose
    'train', 'select' or 'evaluate': whose scenarios are played.
observation
    'flat', one float32 vector, or 'graph', a Dict of padded arrays; the family's README tables both.
post_decision
    Whether `info` holds the post-decision observation; False saves its time.
fit
    Instances that the padding must have room for, besides those of `instance`; for functions that draw several sizes.
render_mode
    None, 'rgb_array' or 'ansi'.

| `info` | |
|---|---|
| `cost` | of the decision and of what followed |
| `illegal_action` | whether the action was illegal; the lowest legal one was taken instead, so that any client runs |
| `post_decision` | the post-decision observation, in the form of an observation |
| `discount` | of all that comes after this step, where it is not 1 |
| `solution_cost` | at the end of an episode: its discounted cost, that of the solution if nothing was cut off |

`action_masks()` says what is legal, in the form that sb3-contrib's MaskablePPO reads. Actions of a family with physical
targets lie in [-1, 1] and mean the range that is legal at the moment.

Environment i's episode k is played on an instance and on a scenario row that depend on (seed, i, k) alone, whatever the
number of environments; a single environment is number 0. `reset(seed=...)` begins with episode 0, `reset()` goes on.

Why a graph is a Dict of padded arrays and not a `gymnasium.spaces.Graph`: Graph samples have no fixed shape, so they
cannot be batched into arrays, shared between processes or kept in a rollout buffer, and Stable-Baselines3 refuses them;
a Dict passes through all of these, and `edges[:, edges[0] >= 0]` is the `edge_index` that graph libraries read.

Examples
--------
>>> import gymnasium
>>> env = gymnasium.make("orl.gym:orl/JobShop-v0", instance="jobshop/ft06")
>>> observation, info = env.reset(seed=0)
>>> is_over = False
>>> while not is_over:
...     action = env.unwrapped.action_masks().argmax()  # the lowest job that may start
...     observation, reward, terminated, truncated, info = env.step(action)
...     is_over = terminated or truncated
>>> info["solution_cost"]
68.0

>>> envs = gymnasium.make_vec("orl.gym:orl/JobShop-v0", num_envs=16, instance="jobshop/ft06")
>>> observations, infos = envs.reset(seed=0)
>>> observations.shape, envs.action_masks().shape
((16, 161), (16, 7))
"""

from __future__ import annotations

import gymnasium

from orl.gym.single import ProcessEnv
from orl.gym.vector import ProcessVectorEnv
from orl.problem import Problem
from orl.registry import find_problem, problem_names

__all__ = ["ProcessEnv", "ProcessVectorEnv", "register"]


def register(problem: str | Problem) -> str:
    """Register a family's environments and return their id.

    Parameters
    ----------
    problem : str or Problem
        A family's name, `module:ATTRIBUTE`, or its record; it must have an `env_name`.
    """
    family = find_problem(problem) if isinstance(problem, str) else problem
    name = f"orl/{family.env_name}-v0"
    if name not in gymnasium.registry:
        gymnasium.register(
            name,
            entry_point="orl.gym.single:ProcessEnv",
            vector_entry_point="orl.gym.vector:ProcessVectorEnv",
            kwargs={"problem": problem},
        )
    return name


for _name in problem_names():
    if find_problem(_name).env_name:
        register(_name)
