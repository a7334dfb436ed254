"""Steps for strips of one size: how large each result is, and what may then be done with fewer copies."""

from dataclasses import replace

from srzoo.upscaling.steps import Operation, Step

Size = tuple[int, int]
"""Rows and columns."""


def measure(step: Step, rows: int, columns: int) -> list[Size]:
    """Rows and columns of the result of each operation, for a strip of rows and columns.

    Examples:
        >>> import srzoo
        >>> from srzoo.upscaling.layers import record
        >>> from srzoo.upscaling.steps import build_step
        >>> step = build_step(record(srzoo.create_model("edsr_baseline_x4", width=8, num_blocks=1).eval()), "whole")
        >>> measure(step, 5, 6)[step.result]
        (20, 24)
    """
    sizes: list[Size] = []
    for position, operation in enumerate(step.operations):
        given = [sizes[operand] for operand in operation.operands]
        match operation.kind:
            case "image":
                size = rows, columns
            case "state":  # as wide as what it is stacked on
                below = next(o.operands[1] for o in step.operations[position:] if position in o.operands)
                while below > position:  # rows taken from what is known already
                    below = step.operations[below].operands[0]
                size = -operation.rows[0], sizes[below][1]
            case "stack":
                size = sum(height for height, _ in given), given[0][1]
            case "take":
                size = len(range(*slice(*operation.rows).indices(given[0][0]))), given[0][1]
            case "layer":
                size = _measure_layer(operation, given[0])
        sizes.append(size)
    return sizes


def _measure_layer(operation: Operation, given: Size) -> Size:
    layer = operation.layer
    assert layer is not None
    rows, columns = given
    if layer.kind == "conv":
        rows += sum(operation.pad_rows) - 2 * layer.pad[0]
    return rows * layer.factor, columns * layer.factor


def split_narrowing(step: Step, rows: int, columns: int) -> Step:
    """The same step, with convolutions to far fewer channels done in two parts, above and below.

    Such a convolution, the last one of most networks, reads much more than it writes: putting the kept rows on top of
    the new ones copies all it reads. Here only the few rows that need both are put together, and what is copied are
    the results of the two parts.
    """
    sizes = measure(step, rows, columns)
    users: dict[int, list[int]] = {}
    for position, operation in enumerate(step.operations):
        for operand in operation.operands:
            users.setdefault(operand, []).append(position)
    stacks = {
        position: next(user for user in users[position] if step.operations[user].kind == "layer")
        for position, operation in enumerate(step.operations)
        if operation.kind == "stack" and _narrows(step, sizes, users.get(position, []), operation)
    }
    operations: list[Operation] = []
    moved: list[int] = []  # by old position: new position

    def add(operation: Operation) -> int:
        operations.append(operation)
        return len(operations) - 1

    for position, operation in enumerate(step.operations):
        operands = tuple(moved[operand] for operand in operation.operands)
        if position in stacks:  # rows taken from its end are rows of the lower part
            moved.append(operands[1])
        elif position in stacks.values():
            kept, new = (moved[x] for x in step.operations[operation.operands[0]].operands)
            assert operation.layer is not None
            reach = 2 * operation.layer.pad[0]
            half = operations[new].half
            channels = operations[new].channels
            top = add(Operation("take", (new,), rows=(0, reach), half=half, channels=channels))
            edge = add(Operation("stack", (kept, top), half=half, channels=channels))
            above = add(replace(operation, operands=(edge,), pad_rows=(0, 0)))
            below = add(replace(operation, operands=(new,), pad_rows=(0, operation.pad_rows[1])))
            both = Operation("stack", (above, below), half=operation.half, channels=operation.channels)
            moved.append(add(both))
        else:
            moved.append(add(replace(operation, operands=operands)))
    return Step(step.phase, tuple(operations), moved[step.result], tuple(moved[state] for state in step.states))


def _narrows(step: Step, sizes: list[Size], users: list[int], stack: Operation) -> bool:
    """Whether a stack is read by a convolution to few channels, and by nothing else that needs the kept rows."""
    layers = [step.operations[user] for user in users if step.operations[user].kind == "layer"]
    takes = [step.operations[user] for user in users if step.operations[user].kind == "take"]
    if len(layers) != 1 or len(layers) + len(takes) != len(users):
        return False
    conv, (kept, _), (new, _) = layers[0].layer, sizes[stack.operands[0]], sizes[stack.operands[1]]
    if conv is None or conv.kind != "conv" or 2 * conv.channels > stack.channels:
        return False
    own = kept == 2 * conv.pad[0] > 0 and new > kept and layers[0].pad_rows[0] == 0
    return own and all(take.rows[1] is None and -new <= take.rows[0] < 0 for take in takes)
