"""Problem families by name. Each is imported when it is first asked for."""

PROBLEMS = {
    "clsp": "orl.problems.clsp:PROBLEM",  # first: its files begin as those of job shops may
    "jobshop": "orl.problems.jobshop:PROBLEM",
    "hydrothermal": "orl.problems.hydrothermal:PROBLEM",
    "lotsizing": "orl.problems.lotsizing:PROBLEM",
    "llmserving": "orl.problems.llmserving:PROBLEM",
}
