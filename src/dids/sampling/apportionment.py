"""Whole samples by domain that stay near a mixture, computed in one go for any totals.

Domains whose weights lie in the same octave form a group. Groups are joined two by two, the
lightest first (Huffman's tree), and every joint rounds to the nearest: of ``n`` samples its lighter
side gets ``floor(share * n + 1/2)``. Inside a group the next sample is the one with the smallest
ideal place ``(j - 1/2) / rate``, the method of Webster and Sainte-Lague (Balinski and Young 1982,
"Fair Representation"). Both are functions of the total alone and never take a sample back, so any
number of steps is looked up in one go, and nothing is carried from one to the next.

No count is ever 1.7 samples from what was asked. A joint adds half a sample to its part of the
error above it, and in Huffman's tree weights grow towards the root like Fibonacci numbers at least,
so a group is at most ``1/2 * (1 + 1 + 1/2 + 1/3 + 1/5 + ...) = 1.68`` off. Inside a group of m no
rate is above ``2 / (m + 1)``: the group's error counts by the rate alone, and ideal places add less
than ``1/2 * (1 + rate * (m - 2))``. Of some 1,200 random mixtures the worst was 1.22 off.

Why not one group for all: heavy domains run ahead while many light ones wait for the same place
(0.9 beside fifteen with 0.1 together: 6.8 samples). Why not every domain for itself: after 20,000
draws 1,000 domains are 10.1 times closer than independent draws in place of 12.7.

Axis letters: k domains, a domains with weight from light to heavy, g groups, v nodes of the tree,
s steps, n samples.
"""

import heapq

import numpy as np
from jaxtyping import Float64, Int64, UInt64


class Apportionment:
    """Divides samples among domains by fixed shares.

    Args:
        share_k: Shares of the domains, summing to one; those without a share take no part.
        tie_break_k: Random order among domains of equal share.
    """

    def __init__(
        self, share_k: Float64[np.ndarray, " k"], tie_break_k: UInt64[np.ndarray, " k"]
    ) -> None:
        order = np.lexsort((tie_break_k, share_k))
        self._domain_a = order[share_k[order] > 0]
        share_a = share_k[self._domain_a]
        octave_a = np.frexp(share_a)[1]
        self._first_g = np.flatnonzero(np.diff(octave_a, prepend=octave_a[:1] - 1))
        self._group_a = np.searchsorted(self._first_g, np.arange(len(octave_a)), side="right") - 1
        self._size_g = np.bincount(self._group_a)
        weight_g = np.add.reduceat(share_a, self._first_g)
        self._rate_a = share_a / weight_g[self._group_a]
        self._joints = _joined(weight_g.tolist())
        self._levels = _levels(self._joints, len(weight_g))

    def draws(
        self,
        credit_k: Float64[np.ndarray, " k"],
        given_k: Int64[np.ndarray, " k"],
        total_s: Int64[np.ndarray, " s_plus_1"],
    ) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
        """Domains of the samples between totals, and which sample of its domain each is.

        Args:
            credit_k: What is owed to each domain at the total 0, negative where it has had too
                much. The domains with a share should sum to about zero.
            given_k: What each domain has given up to ``total_s[0]``.
            total_s: Rising totals, at which the counts are to be near ``credit + share * total``.

        Returns:
            Two arrays of ``total_s[-1] - total_s[0]`` numbers: domain, and how many samples it gave
            before this one. The samples between two totals lie one behind the other, in an order
            without meaning.

        Example:
            >>> tie = np.arange(2, dtype=np.uint64)
            >>> apportionment = Apportionment(np.array([0.75, 0.25]), tie)
            >>> none = np.zeros(2, dtype=np.int64)
            >>> domain, nth = apportionment.draws(np.zeros(2), none, np.array([0, 4, 8]))
            >>> np.bincount(domain[:4]), np.bincount(domain[4:])
            (array([3, 1]), array([3, 1]))
        """
        credit_a, given_a = credit_k[self._domain_a], given_k[self._domain_a]
        credit_g = np.add.reduceat(credit_a, self._first_g)
        count_gs = self._group_counts(credit_g, total_s)
        until_g = count_gs[:, -1] - credit_g
        count_gs = count_gs.astype(np.int64)
        num_g = count_gs[:, -1] - count_gs[:, 0]
        owner, nth = self._next(credit_a, given_a, until_g, count_gs[:, 0], num_g)
        into = _places_by_step(np.diff(count_gs), total_s[:-1] - total_s[0])
        domain_n, nth_n = np.empty_like(into), np.empty_like(into)
        domain_n[into] = self._domain_a[owner]
        nth_n[into] = nth
        return domain_n, nth_n

    def given(self, credit_k: Float64[np.ndarray, " k"], total: int) -> Int64[np.ndarray, " k"]:
        """How many samples each domain has given at a total; as ``draws``, and as fast for any.

        Args:
            credit_k: As for ``draws``.
            total: Samples since the total 0.

        Example:
            >>> tie = np.arange(2, dtype=np.uint64)
            >>> Apportionment(np.array([0.75, 0.25]), tie).given(np.zeros(2), 10**12)
            array([750000000000, 250000000000])
        """
        credit_a = credit_k[self._domain_a]
        credit_g = np.add.reduceat(credit_a, self._first_g)
        count_g = self._group_counts(credit_g, np.array([total]))[:, 0]
        until_g = count_g - credit_g
        count_g = count_g.astype(np.int64)
        # By then no group's members have had more than they have at the total. Only where some owe
        # samples from before can it seem so, near the start.
        from_g = until_g - 0.5 * self._size_g - 1.0
        given_a = self._due(credit_a, from_g)
        num_g = count_g - np.add.reduceat(given_a, self._first_g)
        given_a[(num_g < 0)[self._group_a]] = 0
        num_g = count_g - np.add.reduceat(given_a, self._first_g)
        owner, _ = self._next(credit_a, given_a, until_g, count_g, num_g)
        given_a += np.bincount(owner, minlength=len(given_a))
        given_k = np.zeros(len(credit_k), dtype=np.int64)
        given_k[self._domain_a] = given_a
        return given_k

    def _next(
        self,
        credit_a: np.ndarray,
        given_a: np.ndarray,
        until_g: np.ndarray,
        start_g: np.ndarray,
        num_g: np.ndarray,
    ) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
        """The next samples of every group: whose they are, and which of its owner each is.

        Args:
            credit_a: What is owed to each domain at the total 0.
            given_a: What each has had.
            until_g: What each group is to have had, from the total 0 on.
            start_g: Of the order of what it has had already.
            num_g: How many samples each gets.
        """
        # By then a group's members have had what the last total asks of it, whatever the rounding.
        most_a = self._due(credit_a, until_g + 0.5 * self._size_g + 1.0)
        num_a = np.maximum(most_a - given_a, 0)
        owner = np.repeat(np.arange(len(num_a)), num_a)
        nth = _counted(num_a) + np.repeat(given_a, num_a)
        place = (nth + (0.5 - credit_a)[owner]) / self._rate_a[owner]
        order = _order(place, self._group_a[owner], start_g)
        num_found_g = np.add.reduceat(num_a, self._first_g)
        order = order[_counted(num_found_g) < np.repeat(num_g, num_found_g)]
        return owner[order], nth[order]

    def _due(self, credit_a: np.ndarray, place_g: np.ndarray) -> Int64[np.ndarray, " a"]:
        """How many ideal places each domain has up to one of its group."""
        due_a = np.floor(credit_a + self._rate_a * place_g[self._group_a] + 0.5)
        return np.asarray(np.maximum(due_a, 0.0).astype(np.int64))

    def _group_counts(
        self, credit_g: np.ndarray, total_s: np.ndarray
    ) -> Float64[np.ndarray, "g s_plus_1"]:
        """Whole samples of every group at each total."""
        credits: list[float] = credit_g.tolist()
        for lighter, heavier, _ in self._joints:
            credits.append(credits[lighter] + credits[heavier])
        credit_v1 = np.array(credits)[:, None]
        count_vs = np.empty((len(credits), len(total_s)))
        count_vs[-1] = total_s
        for joint, light, heavy, share in self._levels:
            above = count_vs[joint]
            below = share * above
            below += credit_v1[light] - share * credit_v1[joint] + 0.5
            np.floor(below, out=below)
            np.minimum(np.maximum(below, 0.0, out=below), above, out=below)
            count_vs[light] = below
            above -= below
            count_vs[heavy] = above
        return count_vs[: len(credit_g)]


def _counted(num: np.ndarray) -> Int64[np.ndarray, " n"]:
    """``0, 1, ...`` up to each of the numbers, one run behind the other."""
    return np.asarray(np.arange(int(num.sum())) - np.repeat(np.cumsum(num) - num, num))


def _order(place: np.ndarray, group: np.ndarray, start_g: np.ndarray) -> Int64[np.ndarray, " n"]:
    """Order by group and then by place; what lies in one millionth goes by domain.

    ``lexsort`` takes nine times as long: numpy merges the runs that whole numbers come in.
    """
    millionth = np.floor(place * (1 << 20)).astype(np.int64) - (start_g << 20)[group]
    return np.argsort((group << 48) + millionth, kind="stable")


def _joined(weights: list[float]) -> list[tuple[int, int, float]]:
    """Huffman's tree: lighter child, heavier child and the lighter one's share of every joint.

    Its nodes are numbered: first the groups, then the joints as they are made; the root is last.
    """
    heap = [(weight, node) for node, weight in enumerate(weights)]
    heapq.heapify(heap)
    joints: list[tuple[int, int, float]] = []
    while len(heap) > 1:
        (light, light_node), (heavy, heavy_node) = heapq.heappop(heap), heapq.heappop(heap)
        heapq.heappush(heap, (light + heavy, len(weights) + len(joints)))
        joints.append((light_node, heavy_node, light / (light + heavy)))
    return joints


def _levels(
    joints: list[tuple[int, int, float]], num_groups: int
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Joints of equal depth together, from the root down: numbers, both children, shares [v, 1]."""
    depth = [0] * (num_groups + len(joints))
    by_depth: dict[int, list[tuple[int, int, int, float]]] = {}
    for number in range(len(joints) - 1, -1, -1):
        node = num_groups + number
        light, heavy, share = joints[number]
        depth[light] = depth[heavy] = depth[node] + 1
        by_depth.setdefault(depth[node], []).append((node, light, heavy, share))
    levels = []
    for _, level in sorted(by_depth.items()):
        nodes, lights, heavies, shares = zip(*level, strict=True)
        levels.append(
            (np.array(nodes), np.array(lights), np.array(heavies), np.array(shares)[:, None])
        )
    return levels


def _places_by_step(count_gs: np.ndarray, first_s: np.ndarray) -> Int64[np.ndarray, " n"]:
    """Where samples that lie by group and then by step go, so that they lie by step."""
    goes_gs = first_s + np.cumsum(count_gs, axis=0) - count_gs
    count = count_gs.ravel()
    return np.asarray(np.repeat(goes_gs.ravel(), count) + _counted(count))
