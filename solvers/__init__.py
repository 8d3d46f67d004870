"""Methods by name. Each is imported when first asked for; dispatching rules are methods as well, by name."""

SOLVERS = {
    "best-of": "orl.solvers.rules:BEST_OF",
}
