"""Names of points cover neither each other nor a point, also where points crowd."""

from itertools import combinations

from pedro_bench.reporting.placing import placed

ROOM = (56.0, 0.0, 430.0, 230.0)


def boxes(points, names):
    found = placed(points, names, ROOM)
    return [
        (one.x, one.y - 8, one.x + 5.5 * len(name), one.y)
        for one, name in zip(found, names, strict=True)
    ]


def meet(one, other):
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def test_names_of_crowded_points_do_not_cover_each_other():
    points = [(60 + 4 * n, 12 + 0.5 * n) for n in range(12)]
    found = boxes(points, [f"Method {n} (r=16)" for n in range(12)])
    assert not any(meet(one, other) for one, other in combinations(found, 2))
    assert all(box[0] >= 56 and box[2] <= 430 and box[3] <= 230 for box in found)
    for x, y in points:
        assert not any(meet(box, (x - 2, y - 2, x + 2, y + 2)) for box in found)


def test_a_name_alone_stands_beside_its_point_and_on_its_left_at_the_edge():
    inside, edge = placed([(100.0, 100.0), (420.0, 50.0)], ["PEDRO", "LoRA"], ROOM)
    assert (inside.x, inside.y, inside.joint) == (106.0, 103.0, None)
    assert edge.x + 6.5 * 4 == 414.0
    assert edge.joint is None


def test_a_name_pushed_away_is_joined_to_its_point():
    found = placed([(100.0, 100.0)] * 9, ["A long name of a point"] * 9, ROOM)
    assert found[0].joint is None
    assert found[-1].joint is not None
