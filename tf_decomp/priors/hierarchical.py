# SPDX-License-Identifier: Apache-2.0
"""The prior whose groups of dimensions depend on each other as a graph says."""

import graphlib
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import keras
from tensorflow_probability import distributions as tfd

from tf_decomp.checks import check_sizes, check_weights, check_whole_number, short
from tf_decomp.errors import InputError
from tf_decomp.priors.base import Prior
from tf_decomp.priors.couplings import CoupledNormal, Coupling, coupling_weights


@keras.saving.register_keras_serializable("tf_decomp")
class HierarchicalPrior(Prior):
    """p(z) = prod_g N(z_g; mu_g(parents of g), diag(sigma_g(parents of g))^2).

    Groups of dimensions in an acyclic graph: each is normal given its parents, with
    location and scale by a small network of them. Groups without parents are standard
    normal, and at the start all are. Densities and ancestral samples are exact, samples
    reparameterised.

    Args:
        groups: Name to dimensions; together all of 0 .. latent_dim - 1, each once.
        parents: Name of a group to the names of those it depends on; groups that are
            not named have none.
        hidden: Units of the hidden layers of each network; with none, location and
            (within its bounds, 0.05 to 20) log-scale are linear.

    Raises:
        InputError: The groups leave dimensions out or overlap, a name is of no group,
            the graph has a cycle, or the networks do not fit the memory.

    Example:
        >>> HierarchicalPrior(
        ...     {"class": [0, 1], "style": [2, 3, 4]}, {"style": ["class"]}
        ... ).distribution.sample(10)
    """

    def __init__(
        self,
        groups: Mapping[str, Sequence[int]],
        parents: Mapping[str, Sequence[str]],
        hidden: Sequence[int] = (64,),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._config: dict[str, Any] = {
            "groups": _checked_groups(groups),
            "parents": _checked_parents(parents, groups),
            "hidden": list(check_sizes("HierarchicalPrior: hidden", hidden)),
        }
        groups, parents = self._config["groups"], self._config["parents"]
        edges = [
            (sorted(itertools.chain(*(groups[p] for p in parents[name]))), groups[name])
            for name in _ancestors_first(parents)
            if parents[name]
        ]
        counts = (
            coupling_weights(len(source), len(target), self._config["hidden"])
            for source, target in edges
        )
        check_weights("HierarchicalPrior", sum(counts))
        self.couplings = [
            Coupling(
                self.latent_dim,
                source,
                target,
                self._config["hidden"],
                self.variable_dtype,
            )
            for source, target in edges
        ]

    @property
    def latent_dim(self) -> int:
        """Number of latent dimensions."""
        return sum(map(len, self._config["groups"].values()))

    @property
    def distribution(self) -> tfd.Distribution:
        """The joint density and its ancestral sampler."""
        return CoupledNormal(self.couplings, self.latent_dim, self.variable_dtype)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), **self._config}


def _checked_groups(groups: Any) -> dict[str, list[int]]:
    if not isinstance(groups, Mapping) or not groups:
        raise InputError(
            "HierarchicalPrior: groups must map names to dimensions, as "
            f"{{'a': [0, 1], 'b': [2]}}; received {short(groups)}"
        )
    found: dict[str, list[int]] = {}
    for name, dimensions in groups.items():
        if isinstance(dimensions, str) or not isinstance(name, str):
            dimensions = None
        try:
            found[name] = [
                check_whole_number("a dimension", d, 0) for d in dimensions or ()
            ]
        except (TypeError, ValueError):
            found[name] = []
        if not found[name]:
            raise InputError(
                f"HierarchicalPrior: group {short(name)} must be a name with one or "
                f"more dimensions >= 0; received {short(groups[name])}"
            )
    owner: dict[int, str] = {}
    for name, dimensions in found.items():
        for d in dimensions:
            if d in owner:
                raise InputError(
                    "HierarchicalPrior: every dimension must be in one group; "
                    f"dimension {d} is in {owner[d]!r} and again in {name!r}"
                )
            owner[d] = name
    left_out = [d for d in range(len(owner)) if d not in owner]
    if left_out:
        raise InputError(
            "HierarchicalPrior: groups must cover all dimensions from 0 on; dimension "
            f"{left_out[0]} is in none, the largest is {max(owner)}"
        )
    return found


def _checked_parents(parents: Any, groups: Mapping[str, Any]) -> dict[str, list[str]]:
    if not isinstance(parents, Mapping):
        raise InputError(
            "HierarchicalPrior: parents must map a group's name to those of its "
            f"parents, as {{'b': ['a']}}; received {short(parents)}"
        )
    found: dict[str, list[str]] = {name: [] for name in groups}
    for name, above in parents.items():
        is_list = isinstance(above, Sequence) and not isinstance(above, str)
        for each in (name, *(above if is_list else ())):
            if not isinstance(each, str) or each not in groups:
                raise InputError(
                    f"HierarchicalPrior: parents name {short(each)}, which is no "
                    f"group; the groups are {short(', '.join(groups))}"
                )
        if not is_list or len(set(above)) < len(above):
            raise InputError(
                f"HierarchicalPrior: parents of {name!r} must be a list of different "
                f"groups, as ['a']; received {short(above)}"
            )
        found[name] = list(above)
    return found


def _ancestors_first(parents: Mapping[str, Sequence[str]]) -> list[str]:
    """Returns the groups' names, each behind those of its parents."""
    try:
        return list(graphlib.TopologicalSorter(parents).static_order())
    except graphlib.CycleError as error:
        raise InputError(
            "HierarchicalPrior: the graph must have no cycle; received "
            f"{short(' -> '.join(error.args[1]))}, remove one of these parents"
        ) from None
