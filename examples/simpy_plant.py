"""A shop of one's own, in SimPy, whose machines ask a rule of ORL what to do next.

python examples/simpy_plant.py [RULE]
"""

from __future__ import annotations

import sys

import simpy

import orl

JOBS = {
    "A7": [("lathe", 5), ("mill", 3), ("drill", 4)],
    "B2": [("mill", 4), ("lathe", 6)],
    "C1": [("lathe", 8), ("drill", 2), ("mill", 5)],
    "D9": [("drill", 7), ("mill", 1), ("lathe", 3)],
}


class Plant:
    """Knows where its jobs are; ORL sees no more of it than `state` tells."""

    def __init__(self, rule: str):
        self.env = simpy.Environment()
        self.policy = orl.make_policy("jobshop", rule)
        self.done = dict.fromkeys(JOBS, 0)  # operations completed
        self.ends: dict[str, int] = {}  # jobs under way, and when their operation ends

    def state(self) -> dict:
        """Return what the policy is asked about, as `orl.schema("jobshop")` describes it."""
        jobs = []
        for job, route in JOBS.items():
            entry = {"job": job, "operations": [list(op) for op in route], "ops_done": self.done[job]}
            if job in self.ends:
                entry["work_left"] = self.ends[job] - int(self.env.now)
            jobs.append(entry)
        return {"clock": int(self.env.now), "jobs": jobs}

    def dispatch(self) -> None:
        """Start what the policy says, until it has nothing to say."""
        while any(done < len(JOBS[job]) for job, done in self.done.items()):
            decision = self.policy.decide(self.state()).decision
            if decision is None:
                return
            print(f"{self.env.now:3}  {decision['job']} on the {decision['machine']}")
            job = decision["job"]
            duration = JOBS[job][self.done[job]][1]
            self.ends[job] = int(self.env.now) + duration
            self.env.process(self.work(job, duration))

    def work(self, job: str, duration: int):
        """Work off one operation, then ask what to do next."""
        yield self.env.timeout(duration)
        self.done[job] += 1
        del self.ends[job]
        yield self.env.timeout(0)  # let what else ends at this instant end first
        self.dispatch()


def main(rule: str = "mwr") -> int:
    """Run the plant and return its makespan."""
    plant = Plant(rule)
    plant.dispatch()
    plant.env.run()
    print(f"{plant.env.now:3}  all done, dispatched by {rule}")
    return int(plant.env.now)


if __name__ == "__main__":
    main(*sys.argv[1:2])
