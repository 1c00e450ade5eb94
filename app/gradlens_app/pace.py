"""Callbacks that clocks ask again and again, each only once its last answer is there.

Dash drops the answer of a callback that has been asked again meanwhile. A server that takes longer than a clock's
interval would therefore never be heard, and would be asked ever more. What the reader does is asked at once.
"""

from __future__ import annotations

from collections.abc import Sequence

from dash import ClientsideFunction, Dash, Input, Output, State, dcc


def stores(name: str) -> list[dcc.Store]:
    """What a page holds of a paced callback: which question it was asked last, and which it has answered."""
    return [dcc.Store(id=f"{name}-tick", data=0), dcc.Store(id=f"{name}-answered", data=-1)]


def tick(name: str) -> Input:
    """What asks a paced callback: the number of its question. It is asked the first one, 0, when a page opens."""
    return Input(f"{name}-tick", "data")


def answered(name: str) -> Output:
    """Where a paced callback returns that number, whatever else of its answer has not changed."""
    return Output(f"{name}-answered", "data")


def connect(app: Dash, name: str, clocks: Sequence[str], also: Sequence[Input] = ()) -> None:
    """Let clocks and what the reader does ask the callback of a name: see ``assets/pace.js``.

    Args:
        app: that has the callback.
        name: of its stores.
        clocks: ids of intervals, which wait for the last answer. One that a page brings along comes first.
        also: what asks at once; the callback itself takes these as states.
    """
    app.clientside_callback(
        ClientsideFunction("gradlens", "pace"),
        Output(f"{name}-tick", "data"),
        *(Input(clock, "n_intervals") for clock in clocks),
        *also,
        State(f"{name}-tick", "data"),
        State(f"{name}-answered", "data"),
        State(f"{name}-tick", "id"),
        prevent_initial_call=True,
    )
