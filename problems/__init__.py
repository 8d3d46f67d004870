"""Problem families by name. Each is imported when it is first asked for."""

PROBLEMS = {
    "jobshop": "orl.problems.jobshop:PROBLEM",
    "hydrothermal": "orl.problems.hydrothermal:PROBLEM",
    "lotsizing": "orl.problems.lotsizing:PROBLEM",
    "llmserving": "orl.problems.llmserving:PROBLEM",
}
