"""Which tests belong to a verifier or a kernel file, and which of its mutants no test can tell from the original.

First the tests that are asked first, a few seconds of them; then those that only survivors are shown. Files of nothing
but names (`kernels_codes.py`) are left out: another numbering is no error. So are the arrays of LLM serving
(`kernels_layout.py`), where there is nothing to change, and `kernels_tabu.py`, which asks for random numbers of
negative integers: numba wraps them, Python refuses.
"""

Tests = tuple[str, ...]  # what pytest is told: files of tests/, and `-k`


def _tests(files: str, words: str = "") -> Tests:
    return (*files.split(), "-k", words) if words else tuple(files.split())


_SHOP = (
    _tests(
        "test_embed.py test_kernels.py test_motion.py",
        "agree_with or cannot or classic or decisions or held or twins or paid_once or looked_at or paper or bound",
    ),
    _tests(
        "test_embed.py test_motion.py test_contracts.py test_kernels.py",
        "agree_with or cannot_be or bring or twins or goes_on or bound or evenly or flat or drawn_shops or sizes",
    ),
)
_CANDIDATES = _tests("test_features.py"), _tests("test_advantage.py test_ppo.py", "candidate or row")
_SERVER = (
    _tests(
        "test_llmserving.py test_llmserving_blocks.py test_llmserving_motion.py test_llmserving_twin.py "
        "test_llmserving_verify.py",
        "paper or conserved or (kernels and 7) or step_by_step or verifier_agree or copies_on_their_way",
    ),
    _tests(
        "test_contracts.py test_llmserving.py test_llmserving_blocks.py test_llmserving_motion.py",
        "drawn_servers or step_by_step or conserved or goes_on or switch or side_by_side or smallest or reserved",
    ),
)
_ROUNDS = (
    _tests(
        "test_layers.py", "best or without_preemption or any_prices or better or paper or rounded or dominate or fill"
    ),
    _tests("test_layers.py", "best or preemption or any_prices or better or small_parts or no_optimum"),
)
_LOTS = (
    _tests(
        "test_lotsizing_rules.py test_lotsizing.py",
        "stated or twin or laws or paper or contract or ahead or new_process or asked_for or law_says",
    ),
    _tests("test_lotsizing.py test_lotsizing_live.py test_dp.py", "contract or twin or rules_decide or agrees or rows"),
)
_ITEMS = (
    _tests("test_lagrangian.py", "any_prices or optimal or setting or choice or known or paper or told or exchange"),
    _tests("test_lagrangian.py"),
)
_PIGMENTS = (
    _tests("test_pigments.py", "layers_find or any_prices or alone or alike"),
    _tests("test_pigments.py", "paper or layers_find or any_prices or alone or alike"),
)

TESTS: dict[str, tuple[Tests, Tests]] = {
    "problems/clsp/verify.py": (
        _tests("test_clsp.py", "judged or process_does or verifier or share"),
        _tests("test_clsp.py", "relaxed or drawn or literature"),
    ),
    "problems/hydrothermal/verify.py": (
        _tests(
            "test_hydrothermal_verify.py test_hydrothermal_commitment.py test_hydrothermal_brazil.py",
            "verify and not path or verifier or starts_are or segments",
        ),
        _tests(
            "test_hydrothermal.py test_hydrothermal_ac.py test_hydrothermal_ac_verify.py test_hydrothermal_soc.py "
            "test_hydrothermal_twin.py",
            "verifier or losses or of_the_twin or deterministic or ones_own or lacks or changed_dispatch",
        ),
    ),
    "problems/hydrothermal/verify_ac.py": (
        _tests("test_hydrothermal_ac_verify.py", "millionth or verifier or lacks"),
        _tests("test_hydrothermal_ac.py test_hydrothermal_ac_verify.py", "contract_holds_in or drawn_grids or checked"),
    ),
    "problems/hydrothermal/verify_soc.py": (
        _tests("test_hydrothermal_soc.py", "millionth or does_is_verified or changed_dispatch"),
        _tests("test_hydrothermal_soc.py", "hindsight or tree"),
    ),
    "problems/jobshop/verify.py": (
        _tests("test_verify.py test_verify_drawn.py", "not caught and not stored and not range and not key"),
        _tests("test_verify.py test_verify_drawn.py test_twin.py"),
    ),
    "problems/llmserving/verify.py": (
        _tests(
            "test_llmserving_verify.py test_llmserving_metrics.py",
            "right or tolerances or broken or cost or under_way or nonsense",
        ),
        _tests("test_llmserving_verify.py test_llmserving_twin.py", "agree or (kernels and 7)"),
    ),
    "problems/lotsizing/verify.py": (
        _tests("test_lotsizing.py test_pigments.py", "verifier or figures or balances or plan_on_paper"),
        _tests("test_lotsizing.py test_exact_models.py", "twin or contract or lots"),
    ),
    "problems/clsp/kernels_lots.py": (_tests("test_clsp.py", "recursion or dynamic or zeros"), ()),
    **dict.fromkeys(
        [f"problems/jobshop/kernels{name}.py"
         for name in ("", "_active", "_downtime", "_layout", "_moves", "_queues", "_rules")],
        _SHOP,
    ),
    "problems/jobshop/kernels_certificate.py": (
        _tests("test_certificate.py", "way_out or large or paper or equal"),
        _SHOP[0],
    ),
    **dict.fromkeys(
        [f"problems/jobshop/kernels{name}.py" for name in ("_candidates", "_features", "_floor")], _CANDIDATES
    ),
    **dict.fromkeys(
        [f"problems/llmserving/kernels{name}.py" for name in ("", "_blocks", "_moves", "_rules", "_time")],
        _SERVER,
    ),
    "problems/llmserving/kernels_candidates.py": (
        _tests("test_llmserving.py", "rows or reads or expected or iterations"),
        _tests("test_advantage.py", "servers or rows or llm"),
    ),
    "problems/llmserving/kernels_prices.py": _ROUNDS,
    "problems/llmserving/kernels_search.py": _ROUNDS,
    **dict.fromkeys(
        [f"problems/lotsizing/kernels{name}.py" for name in ("", "_demand", "_moves", "_rules")], _LOTS
    ),
    "problems/lotsizing/kernels_candidates.py": (_tests("test_lotsizing.py", "rows or score or nothing_ends"), ()),
    "problems/lotsizing/kernels_assign.py": _ITEMS,
    "problems/lotsizing/kernels_items.py": _ITEMS,
    "problems/lotsizing/kernels_prices.py": _PIGMENTS,
    "problems/lotsizing/kernels_search.py": _PIGMENTS,
    "orl/kernels_choices.py": (_tests("test_choices.py"), ()),
    "orl/kernels_hash.py": (_tests("test_hash.py"), ()),
    "orl/kernels_squash.py": (_tests("test_llmserving.py", "rows or squash"), ()),
}  # fmt: skip

_EDGE = "differs only where a rounded number meets its limit exactly"
_SPEED = "changes how long it takes and nothing else"

EQUIVALENT: dict[tuple[str, str], str] = {  # by file and change: why
    ("problems/clsp/verify.py", "made < -TOLERANCE * max(1.0, demand) -> LtE"): _EDGE,
    ("problems/clsp/verify.py", "left < -slack -> LtE"): _EDGE,
    ("problems/clsp/verify.py", "beyond > TOLERANCE * max(1.0, float(one.capacity[period])) -> GtE"): _EDGE,
    ("problems/hydrothermal/verify_ac.py", "1 in -1 -> 2"): "reshape takes any negative number for what is left",
    ("problems/hydrothermal/verify_ac.py", "np.abs(power) > grid.branch_rate + TOLERANCE -> GtE"): _EDGE,
    ("problems/hydrothermal/verify_ac.py", "np.abs(balance) > TOLERANCE -> GtE"): _EDGE,
    ("problems/hydrothermal/verify_ac.py", "values <= high + TOLERANCE -> Lt"): _EDGE,
    ("problems/hydrothermal/verify_soc.py", "values >= low - TOLERANCE -> Gt"): _EDGE,
    ("problems/hydrothermal/verify_soc.py", "beyond > TOLERANCE -> GtE"): _EDGE,
    ("problems/hydrothermal/verify_soc.py", "high < np.pi / 2 -> LtE"): _EDGE,
    ("problems/jobshop/verify.py", "22 in 2 ** 22 -> 23"): "a bound on effort, whose docstring says 'about'",
    ("problems/jobshop/verify.py", "True in strict=True -> False"): "columns of other lengths were refused before",
    ("problems/jobshop/verify.py", "targets[job] is None or visits[targets[job]] == 1 -> And"):
        "fewer moves are taken for sure and more orders tried: " + _SPEED,
    ("problems/llmserving/verify.py", "replay.violations and replay.has_close_ends -> Or"):
        "a second replay is made for nothing: without violations none has fewer, without close ends it is the same",
    ("problems/llmserving/verify.py", "np.abs(took - right) > slack -> GtE"): _EDGE,
    ("problems/llmserving/verify.py", "np.abs(times - right) <= SLACK * np.maximum(1, np.abs(times)) -> Lt"): _EDGE,
    ("problems/llmserving/verify.py", "0 in np.clip(place, 0, len(table) - 2) -> 1"):
        "a batch has a token and a request at least; what is said of 0 is of empty ones, and is masked",
    ("orl/kernels_hash.py", "9007199254740992.0 in 1.0 / 9007199254740992.0 -> 9007199254740992.0"):
        "one more than 2 ** 53 is the same number in double precision",
    ("problems/llmserving/kernels_search.py", "wanted + need(given, state, present[depth]) > memory -> GtE"):
        "more sets are tried, of which none is full: " + _SPEED,
    ("orl/kernels_choices.py", "1 in -1 -> 2"): "any negative number says that there is none",
    ("problems/jobshop/kernels.py", "1 in -1 -> 2"): "a conflict set is never empty: one takes its place",
    ("problems/jobshop/kernels_candidates.py", "1 in -1 -> 2"): "any negative number says that there is none",
    ("problems/jobshop/kernels_floor.py", "available[job] < soonest -> LtE"): "the least of equals is the same",
    ("problems/lotsizing/kernels.py", "after > 0 -> GtE"): "of nothing nothing is held and nothing paid",
    ("problems/lotsizing/kernels_moves.py", "1 in -1 -> 2"): "any negative number says that there is none",
    ("problems/llmserving/kernels.py", "w.real[s.num[ARRIVED], codes.ARRIVAL] < at -> LtE"):
        "the earlier of equals is the same",
    ("problems/llmserving/kernels_blocks.py", "if w.sizes[GROUP] == 1 -> False"):
        "a short cut: in groups of one no block goes on, so the loop counts them all",
    ("problems/llmserving/kernels_rules.py", "in_all <= w.sizes[codes.NUM_BLOCKS] -> Lt"):
        "a short cut: the loop behind it says yes, too, where all just fit",
    ("problems/jobshop/kernels_certificate.py", "2 * state[at.version] -> Div"):
        "what was found is never taken for what is asked, and looked for again: " + _SPEED,
    ("problems/jobshop/kernels_queues.py", "child + 1 < size -> LtE"):
        "the place behind the heap holds the event that sinks: if it is less than the child, the search ends, too",
    ("problems/jobshop/kernels_layout.py", "1 in dict.fromkeys(Layout._fields, 1) -> 2"):
        "a spare place behind every number takes memory and nothing else",
    ("problems/lotsizing/kernels_items.py", "2 in range(2) -> 3"):
        "the second is done once more, and comes out the same",
    ("problems/lotsizing/kernels_search.py", "break -> Continue"):
        "who does not stay is compared with the rest, too: " + _SPEED,
    ("problems/lotsizing/kernels.py", "0 in after < 0 -> 1"): "where nothing is short nothing is paid, either way",
}  # fmt: skip
