"""What the tick remembers: which row or column of which array means what.

Arrays over edges have a row a figure, because sweeps pass over edges in order. Arrays over operations,
queues and contents have a column a figure, because one of them is visited at a time: its figures lie in
one or two lines of cache.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

I32 = NDArray[np.int32]

# Rows of the edges' state, (E_WIDTH, E).
E_FLIGHT: Final = 0  # 0..3 attempts in flight, by number of attempt; 3 is "fourth or later"
E_BACKOFF: Final = 4  # 4..6 waiting to become attempt 1, 2, 3 or later
E_ZOMBIE: Final = 7
E_HOT: Final = 8  # 1: some attempt may end badly, or some mass is left from when it could
E_MEAN: Final = 9  # mean seconds until the caller knows
E_OK: Final = 10  # 10..13 shares of attempts: ok, failed, rejected, timed out
E_ZOMBIE_S: Final = 14  # mean seconds that a timed-out attempt goes on
E_FAIL: Final = 15  # share of calls that fail their request
E_WIDTH: Final = 16

# Columns of contents, (M, M_WIDTH): the requests of one operation and pool at one visit.
M_NUMBER: Final = 0
M_CAME: Final = 1  # 1, 2 this tick: expected, drawn
M_DOOMED: Final = 3  # waiting out a Hold's time-out in vain
M_HOLD: Final = 4  # 4, 5 mean and variance of the holding time
M_HOLD_MARGINAL: Final = 6
M_LATE: Final = 7  # share of waits beyond the Hold's time-out
M_WIDTH: Final = 8

# Columns of operations, (O, O_WIDTH).
O_CAME: Final = 0  # 0, 1 arrivals not yet taken in: expected, drawn
O_CANCEL: Final = 2  # attempts whose callers have given up and cancelled, to be taken out
O_CUT: Final = 3  # share of its waiting callers cut this tick
O_LOST: Final = 4  # share of its requests lost with a vanished pool
O_HOT: Final = 5  # some edge is hot
O_CALLING: Final = 6  # 6, 7 flow into the calls of the short cut, to be settled by the backward sweep:
O_WIDTH: Final = 8  # expected, drawn; below zero: nothing to settle

# Columns of what callers need to know of a calm operation, (O, C_WIDTH).
C_MEAN: Final = 0  # 0..2 raw moments of its duration
C_MARGINAL: Final = 3
C_CERTAIN: Final = 4  # a time-out beyond changes nothing; inf: not calm, see its outcome row
C_P99: Final = 5
C_WIDTH: Final = 8

# Columns of the longest of a group of calls, by code, (codes, G_WIDTH), as last worked out.
G_KEY: Final = 0  # 0, 1 sums of the first and second moments of the calls
G_MOMENT: Final = 2  # 2..4 raw moments of the longest
G_WIDTH: Final = 5

# Columns of what is known of visits, (V, V_WIDTH): of Work its mean seconds and squared coefficient of
# variation, of Hold the bound of the wait.
V_MEAN: Final = 0
V_CV2: Final = 1
V_TIMEOUT: Final = 2

# Rows of a sample's edges that every tick fills.
X_ISSUED: Final = 0
X_OK: Final = 1
X_FLIGHT: Final = 2
X_CALL_MEAN: Final = 3
X_CALL_P99: Final = 4
X_ROWS: Final = 5

# Rows that only trouble fills. Without any, all are zero but the first, which equals X_OK.
T_CALL_OK: Final = 0
T_CALL_FAILED: Final = 1
T_FAILED: Final = 2
T_REJECTED: Final = 3
T_TIMED_OUT: Final = 4
T_RETRIED: Final = 5
T_BACKOFF: Final = 6
T_ZOMBIE: Final = 7
T_ROWS: Final = 8

# Rows of a sample's operations.
Y_CAME: Final = 0
Y_OK: Final = 1
Y_FAILED: Final = 2
Y_REJECTED: Final = 3
Y_MEAN: Final = 4
Y_P50: Final = 5
Y_P99: Final = 6
Y_ROWS: Final = 7

CALM_SHARE: Final = 1e-7  # Below, trouble is not worth its arithmetic.
RESIDUE: Final = 1e-9  # requests
