"""Methods by name. Each is imported when first asked for; dispatching rules are methods as well, by name."""

SOLVERS = {
    "cp-sat": "orl.solvers.cp_sat:SOLVER",
    "exact": "orl.solvers.exact:SOLVER",
    "fix-and-optimise": "orl.solvers.fix_and_optimise:SOLVER",
    "dp": "orl.solvers.dp:SOLVER",
    "lagrangian": "orl.solvers.lagrangian:SOLVER",
    "lagrangian-hindsight": "orl.solvers.lagrangian:HINDSIGHT",
    "sddp": "orl.solvers.sddp:SOLVER",
    "ppo": "orl.solvers.ppo:SOLVER",
    "pdppo": "orl.solvers.ppo:PDPPO",
    "ts-ddr": "orl.solvers.decision_rules:SOLVER",
    "ts-ldr": "orl.solvers.decision_rules:LINEAR",
    "rollout": "orl.solvers.rollout:SOLVER",
    "rolling": "orl.solvers.rolling:SOLVER",
    "layers": "orl.solvers.layers:SOLVER",
    "tabu": "orl.solvers.tabu:SOLVER",
    "best-of": "orl.solvers.rules:BEST_OF",
}
