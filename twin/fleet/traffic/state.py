"""What the tick remembers: which row or column of which array means what.

Arrays over edges and operations have a row a figure, because sweeps pass over them in order, and because
what callers hand to callees all over the fleet should be dense. Arrays over queues and contents have a
column a figure, because one of them is visited at a time: its figures lie in one or two lines of cache.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

I8 = NDArray[np.int8]
I32 = NDArray[np.int32]

# Rows of the edges' state, (E_WIDTH, E).
E_FLIGHT: Final = 0  # 0..3 attempts in flight, by number of attempt; 3 is "fourth or later"
E_BACKOFF: Final = 4  # 4..6 waiting to become attempt 1, 2, 3 or later
E_ZOMBIE: Final = 7
E_RATE: Final = 8  # attempts a second, averaged over as long as they take; 0 in calm
E_TRANSIT: Final = 9  # mean seconds on the way, without what a growing queue adds; 0 in calm
E_HOT: Final = 10  # 1: some attempt may end badly, or some mass is left from when it could
E_MEAN: Final = 11  # mean seconds until the caller knows
E_OK: Final = 12  # 12..15 attempts that end now, for each that begins: ok, failed, rejected, timed out
E_ZOMBIE_S: Final = 16  # mean seconds that a timed-out attempt goes on
E_FAIL: Final = 17  # requests that fail with a call, for each that makes it
E_PASS: Final = 18  # requests that go on after a call, for each that makes it
E_EXPECTED: Final = 19  # first attempts that were expected in the last tick
E_WIDTH: Final = 20

# Columns of contents, (M, M_WIDTH): the requests of one operation and pool at one visit.
M_NUMBER: Final = 0
M_CAME: Final = 1  # 1, 2 this tick: expected, drawn
M_DOOMED: Final = 3  # waiting out a Hold's time-out in vain
M_HOLD: Final = 4  # 4, 5 mean and variance of the holding time
M_HOLD_MARGINAL: Final = 6
M_LATE: Final = 7  # share of waits beyond the Hold's time-out
M_WIDTH: Final = 8

# Rows of operations, (O_WIDTH, O).
O_CAME: Final = 0  # 0, 1 arrivals not yet taken in: expected, drawn
O_CANCEL: Final = 2  # attempts whose callers have given up and cancelled, to be taken out
O_CUT: Final = 3  # share of its waiting callers cut this tick
O_LOST: Final = 4  # share of its requests lost with a vanished pool
O_HOT: Final = 5  # some edge is hot
O_KNOWN: Final = 6  # arrivals that were expected in the last tick
O_STALE: Final = 7  # 1: what the conditions say of it has changed, so its durations have to be worked out anew
O_WIDTH: Final = 8

# Columns of what callers need to know of a calm operation, (O, C_WIDTH).
C_MEAN: Final = 0  # 0..2 raw moments of its duration
C_MARGINAL: Final = 3
C_CERTAIN: Final = 4  # a time-out beyond changes nothing; inf: not calm, see its outcome row
C_P99: Final = 5
C_WIDTH: Final = 8

# Columns of the longest of a group of calls, by code, (codes, G_WIDTH), as last worked out.
G_KEY: Final = 0  # 0, 1 sums of the first and second moments of the calls
G_MOMENT: Final = 2  # 2..4 raw moments of the longest
G_TROUBLE_KEY: Final = 5  # 5..10 likewise out of calm: clean share and its moments, other share and its moments
G_CLEAN: Final = 11  # 11..13 raw moments of the longest if all are clean
G_TROUBLED: Final = 14  # 14..16 and if not
G_WIDTH: Final = 17

# Columns of what is known of visits, (V, V_WIDTH): of Work its mean seconds and squared coefficient of
# variation, of Hold the bound of the wait.
V_MEAN: Final = 0
V_CV2: Final = 1
V_TIMEOUT: Final = 2

# A sample's arrays. Those of what flows are filled anew in every tick: rows of edges,
X_ISSUED: Final = 0
X_OK: Final = 1
X_FLIGHT: Final = 2
X_ROWS: Final = 3

# and rows of operations.
Y_CAME: Final = 0
Y_OK: Final = 1
Y_FAILED: Final = 2
Y_REJECTED: Final = 3
Y_ROWS: Final = 4

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

# What stands until something moves: times of calls by edge, times by operation, figures of stations.
CALL_MEAN: Final = 0
CALL_P99: Final = 1
CALL_ROWS: Final = 2
TIME_MEAN: Final = 0
TIME_P50: Final = 1
TIME_P99: Final = 2
TIME_ROWS: Final = 3
STATION_BUSY: Final = 0
STATION_CAPACITY: Final = 1
STATION_QUEUE: Final = 2
STATION_ROWS: Final = 3

CALM_SHARE: Final = 1e-7  # Below, trouble is not worth its arithmetic.
RESIDUE: Final = 1e-9  # requests

# What moves by less, as a share of itself, counts as standing still.
REST_TOLERANCE: Final = 3e-5
REST_NUMBER: Final = 0.01  # requests: how far a queue at rest may be from its stationary number
