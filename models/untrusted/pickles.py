"""Pickles that are not to be trusted, read without running anything: no imports, and calls of listed functions only.

`pickletools` splits the stream into opcodes, and checks the lengths that they claim; `load` is the stack machine that
executes these. It does not know the opcodes that create instances of other classes, extensions and buffers.
"""

import pickletools
import struct

from models.untrusted.plain_data import LARGEST_KEY


class BrokenPickle(ValueError):
    """Its message says what is wrong with the pickle."""


class ForbiddenGlobal(BrokenPickle):
    """The pickle names a global that is not listed; `name` is its full name."""

    def __init__(self, module, name):
        self.name = f"{module}.{name}"[:80].encode("ascii", "backslashreplace").decode()
        super().__init__(f"it refers to {self.name}, which a file of tensors does not need")


class Function:
    """What a callable global stands for: `call` gets the arguments from the pickle, and must check them."""

    def __init__(self, call):
        self.call = call


class Instance:
    """What a `Function` may give for an object of some class: the class is not there, its state is plain data."""

    state = None


# Two generators and a discriminator take about ten thousand; a checkpoint, eight for each entry of its statistics.
MOST_OPERATIONS = 4_000_000

KEYS = (str, int, bool, type(None))  # a nested tuple could take forever to hash
LITERALS = frozenset(
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 "
    "STRING BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINBYTES8".split()
)
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
SHORT_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
DAMAGE = (ValueError, TypeError, IndexError, KeyError, OverflowError, AttributeError, struct.error)


def load(stream, find, persistent=None):
    """The content of one pickle; `stream`, a BytesIO or an mmap, is left at its end.

    find(module, name): what a global stands for, a `Function` or data; raises ForbiddenGlobal. persistent(id): what a
    persistent id stands for. NEWOBJ calls a `Function`; the state that BUILD would set is dropped, unless it is that of
    an `Instance`, and so is the content of sets. Raises BrokenPickle where the pickle is damaged, or contains anything
    else.
    """
    machine = _Machine(find, persistent)
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
            if count > MOST_OPERATIONS:
                raise BrokenPickle("it has more operations than any file of tensors")
            if opcode.name == "STOP":
                return machine.stack.pop()
            machine.step(opcode.name, argument)
    except BrokenPickle:
        raise
    except DAMAGE as error:
        raise BrokenPickle(f"it is damaged ({' '.join(str(error).split())[:80]})") from None


class _Machine:
    def __init__(self, find, persistent):
        self.find, self.persistent = find, persistent
        self.stack, self.below, self.memo = [], [], {}

    def step(self, name, argument):
        if name in LITERALS:
            self.stack.append(argument)
        elif name in CONSTANTS:
            self.stack.append(CONSTANTS[name])
        elif name in SHORT_TUPLES:
            self.stack.append(tuple(self.stack.pop() for _ in range(SHORT_TUPLES[name]))[::-1])
        elif name.endswith("GET"):
            self.stack.append(self.memo[int(argument)])
        elif name.endswith("PUT"):
            self.memo[int(argument)] = self.stack[-1]
        elif name not in ("PROTO", "FRAME"):
            operation = getattr(self, f"on_{name.lower()}", None)
            if operation is None:
                raise BrokenPickle(f"it uses {name}, which a file of tensors does not need")
            operation(argument)

    def since_mark(self):
        items, self.stack = self.stack, self.below.pop()
        return items

    def on_mark(self, _):
        self.below.append(self.stack)
        self.stack = []

    def on_memoize(self, _):
        self.memo[len(self.memo)] = self.stack[-1]

    def on_pop(self, _):
        if self.stack:
            self.stack.pop()
        else:
            self.since_mark()

    def on_pop_mark(self, _):
        self.since_mark()

    def on_empty_list(self, _):
        self.stack.append([])

    def on_list(self, _):
        items = self.since_mark()
        self.stack.append(items)

    def on_append(self, _):
        self.extend([self.stack.pop()])

    def on_appends(self, _):
        items = self.since_mark()
        self.extend(items)

    def extend(self, items):
        if type(self.stack[-1]) is not list:
            raise BrokenPickle("it is damaged (it appends to something that is not a list)")
        self.stack[-1].extend(items)

    def on_tuple(self, _):
        items = self.since_mark()
        self.stack.append(tuple(items))

    def on_empty_dict(self, _):
        self.stack.append({})

    def on_dict(self, _):
        items = self.since_mark()
        self.stack.append({})
        self.update(items)

    def on_setitem(self, _):
        value = self.stack.pop()
        self.update([self.stack.pop(), value])

    def on_setitems(self, _):
        items = self.since_mark()
        self.update(items)

    def update(self, items):
        if type(self.stack[-1]) is not dict or len(items) % 2:
            raise BrokenPickle("it is damaged (it sets items of something that is not a dict)")
        for key, value in zip(items[::2], items[1::2]):
            if type(key) not in KEYS:
                raise BrokenPickle(f"it has a key of type {type(key).__name__}")
            if type(key) is int and abs(key) >= LARGEST_KEY:
                raise BrokenPickle(f"it has a key of {key.bit_length():,} bits")
            self.stack[-1][key] = value

    def on_empty_set(self, _):
        self.stack.append(None)

    def on_additems(self, _):
        self.since_mark()

    def on_frozenset(self, _):
        self.since_mark()
        self.stack.append(None)

    def on_global(self, argument):
        self.stack.append(self.find(*argument.split(" ", 1)))

    def on_stack_global(self, _):
        name, module = self.stack.pop(), self.stack.pop()
        if type(name) is not str or type(module) is not str:
            raise BrokenPickle("it is damaged (the name of a global is not text)")
        self.stack.append(self.find(module, name))

    def on_reduce(self, _):
        arguments, function = self.stack.pop(), self.stack.pop()
        if type(function) is not Function or type(arguments) is not tuple:
            raise BrokenPickle("it calls something that is not a function")
        self.stack.append(function.call(*arguments))

    on_newobj = on_reduce

    def on_build(self, _):
        state = self.stack.pop()
        if not self.stack:
            raise BrokenPickle("it is damaged (it builds nothing)")
        if type(self.stack[-1]) is Instance:
            self.stack[-1].state = state

    def on_binpersid(self, _):
        if self.persistent is None:
            raise BrokenPickle("it refers to data outside of it")
        self.stack.append(self.persistent(self.stack.pop()))
