"""Which parameters a run keeps in detail, and the groups of parameters whose norms it keeps beside the global one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

import numpy as np
from numpy.typing import NDArray

Norms = NDArray[np.float64]
Globs = str | Sequence[str]


class Selection:
    """Parameters by the names that they have in the model, as shell patterns match them.

    Args:
        names: of all parameters.
        include: patterns of those that are kept in detail.
        exclude: patterns of those among them that are not.
        groups: name of a group -> patterns of its parameters.

    Attributes:
        kept: indices of the parameters that are kept in detail.

    Raises:
        TypeError: for patterns that are no text.
        ValueError: if a pattern matches no parameter, or none is kept.

    >>> chosen = Selection(["encoder.weight", "encoder.bias", "head.weight"], "*.weight", (), {"enc": "encoder.*"})
    >>> norms = np.array([3.0, 4.0, 12.0])
    >>> chosen.detail(norms).tolist(), chosen.group_norms("grad_norm", norms)
    ([3.0, 12.0], {'grad_norm[enc]': 5.0})
    """

    def __init__(
        self, names: Sequence[str], include: Globs, exclude: Globs, groups: Mapping[str, Globs] | None
    ) -> None:
        if groups is not None and not isinstance(groups, Mapping):
            raise TypeError(f'groups takes a mapping such as {{"encoder": "encoder.*"}}; got {type(groups).__name__}.')
        included, excluded = _matching(names, include, "include"), _matching(names, exclude, "exclude")
        self.kept = np.setdiff1d(included, excluded)
        if len(self.kept) == 0:
            raise ValueError("include and exclude leave no parameter; keep at least one, a small one will do.")
        self._all = len(self.kept) == len(names)
        self._groups = {group: _matching(names, globs, f"groups[{group!r}]") for group, globs in (groups or {}).items()}

    def detail(self, norms: Norms) -> Norms:
        """Those of (parameters,) norms that are kept."""
        return norms if self._all else norms[self.kept]

    def group_norms(self, kind: str, norms: Norms, *, finite: bool = True) -> dict[str, float]:
        """The norm of each group, from those of its parameters.

        Args:
            kind: what the norms are of.
            norms: (parameters,), NaN for a parameter that has none.
            finite: whether the global norm is, so that a NaN stands for a parameter without one, and for nothing else.
        """
        total = np.nansum if finite else np.sum
        return {
            f"{kind}[{group}]": float(np.sqrt(total(np.square(norms[chosen]))))
            for group, chosen in self._groups.items()
        }


def _matching(names: Sequence[str], globs: Globs, what: str) -> NDArray[np.int64]:
    found: set[int] = set()
    if not isinstance(globs, str) and not (isinstance(globs, Sequence) and all(isinstance(g, str) for g in globs)):
        raise TypeError(f'{what} takes a shell pattern such as "encoder.*", or several in a list; got {globs!r}.')
    for glob in (globs,) if isinstance(globs, str) else globs:
        here = {index for index, name in enumerate(names) if fnmatchcase(name, glob)}
        if not here:
            some = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
            raise ValueError(f"{what}: {glob!r} matches no parameter; their names are {some}")
        found |= here
    return np.array(sorted(found), np.int64)
