"""Numbers by which kernels know laws, rules and the columns of an instance's row."""

INDEPENDENT, PATH, POISSON = 0, 1, 2  # laws of demand

IDLE, KEEP, FIXED, BASE_STOCK, GREEDY, RANDOM = 1, 2, 3, 4, 5, 6  # rules
GREEDY_WINDOW, GREEDY_SETUP_SHARE = 4.0, 0.5  # where its tuning begins, and what networks are shown its score at
NUM_PARAMETERS = 2  # of a rule, or one a machine

# Columns of an instance's row of whole numbers.
(
    NUM_MACHINES,
    NUM_ITEMS,
    PERIODS,
    FIRST_PERIOD,
    BACKLOG,
    FORBID,
    KEEPS_SETUP,
    ONE_MACHINE,
    CYCLE,
    LAW,
    ENDLESS,
    ON_TIME,
    ROW_WIDTH,
) = range(13)
