"""The terminal's side of `frameloom top`: two tables that follow the site, keys, and what came of them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from typing import Any, ClassVar

from rich.text import Text
from textual import work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen
from textual.widgets import DataTable, Footer, RichLog, Static
from textual.widgets.data_table import CellDoesNotExist

from frameloom.control.client import ControlClient, SiteNotRunning
from frameloom.model.errors import CommandError, FrameloomError

from . import orders, rows

_LOG_LINES = 200
_COMMAND_S = 10.0


class Top(App[str]):
    """A running site. Returns the words to end with, or None if the person left."""

    TITLE = "frameloom top"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #headline { height: 1; padding: 0 1; background: $panel; }
    #workers { height: 2fr; }
    #streams { height: 1fr; border-top: solid $panel; }
    #log { height: 1fr; border-top: solid $panel; }
    #said { height: 1; padding: 0 1; }
    #said.bad { color: $error; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "switch('start')", "start", priority=True),
        Binding("s", "switch('stop')", "stop"),
        Binding("r", "record", "record"),
        Binding("e", "switch('restart')", "restart"),
        Binding("q", "shut_down", "shut down"),
        Binding("escape,ctrl+c,ctrl+q", "leave", "leave", priority=True),
    ]

    def __init__(self, site: str) -> None:
        super().__init__()
        self.site = site
        self.snapshot: dict[str, Any] | None = None

    def compose(self) -> ComposeResult:
        yield Static(f"site {self.site}: connecting", id="headline", markup=False)
        yield DataTable[Text](id="workers", cursor_type="row", zebra_stripes=True)
        yield DataTable[Text](id="streams", cursor_type="none", show_cursor=False)
        yield RichLog(id="log", max_lines=_LOG_LINES, wrap=True)
        yield Static("", id="said", markup=False)
        yield Footer()

    def on_mount(self) -> None:
        for name, columns in (("#workers", rows.WORKER_COLUMNS), ("#streams", rows.STREAM_COLUMNS)):
            for column in columns:
                self._table(name).add_column(column, key=column)
        self._table("#workers").focus()
        self.follow()

    @property
    def chosen(self) -> str | None:
        """The worker that the cursor is on."""
        table = self._table("#workers")
        with contextlib.suppress(CellDoesNotExist):
            return table.coordinate_to_cell_key(table.cursor_coordinate).row_key.value
        return None

    # --- following the site ---

    @work(exclusive=True, group="follow")
    async def follow(self) -> None:
        """Until the site ends."""
        try:
            async with await ControlClient.connect(self.site) as client:
                async for snapshot in client.watch():
                    self.show(snapshot)
        except SiteNotRunning as error:
            self.exit(str(error), return_code=3)
            return
        self.exit(f"site {self.site!r} has ended")

    def show(self, snapshot: dict[str, Any]) -> None:
        """Bring the tables up to date, the cursor where it is."""
        is_first, self.snapshot = self.snapshot is None, snapshot
        now_utc_ns = time.time_ns()
        self.query_one("#headline", Static).update(rows.headline(snapshot, now_utc_ns))
        fill(self._table("#workers"), rows.WORKER_COLUMNS, rows.workers(snapshot, now_utc_ns))
        fill(self._table("#streams"), rows.STREAM_COLUMNS, rows.streams(snapshot))
        if is_first:
            self.read_log()

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        if self.snapshot is not None and event.data_table.id == "workers":
            self.read_log()

    @work(exclusive=True, group="log")
    async def read_log(self) -> None:
        """The last lines of the worker that is chosen, and why it ended last."""
        name, snapshot = self.chosen, self.snapshot
        if name is None or snapshot is None or name not in snapshot["workers"]:
            return
        lines = await self._lines(name)
        log = self.query_one("#log", RichLog)
        log.clear()
        log.border_title = f"log of {name}"
        for text in (rows.last_error(snapshot["workers"][name]), *lines):
            if text:
                log.write(Text(text))

    async def _lines(self, name: str) -> list[str]:
        with contextlib.suppress(FrameloomError):
            async with await ControlClient.connect(self.site) as client:
                answer = await client.command("logs", name=name, lines=_LOG_LINES)
                return [line["text"] for line in answer["lines"]]
        return []

    # --- keys ---

    def action_switch(self, verb: str) -> None:
        if self.chosen is not None:
            self.order(orders.switch(verb, self.chosen))

    def action_record(self) -> None:
        if self.chosen is None or self.snapshot is None:
            return
        try:
            self.order(orders.record(self.snapshot, self.chosen))
        except CommandError as error:
            self.say(str(error), bad=True)

    def action_shut_down(self) -> None:
        self.push_screen(Question(self.site), self._answered)

    def action_leave(self) -> None:
        if isinstance(self.screen, Question):
            self.screen.dismiss(False)
        else:
            self.exit()

    def _answered(self, yes: bool | None) -> None:
        if yes:
            self.order(orders.Order("shutdown", {}, f"shut down {self.site}"))

    @work(group="orders")
    async def order(self, order: orders.Order) -> None:
        """Post a command, and say what came of it."""
        self.say(f"{order.words} ...")
        try:
            async with await ControlClient.connect(self.site) as client:
                await client.command(order.command, timeout_s=_COMMAND_S, **order.fields)
        except FrameloomError as error:
            self.say(str(error), bad=True)
        else:
            self.say(f"{order.words}: done")
            self.read_log()

    def say(self, text: str, *, bad: bool = False) -> None:
        """One line below the tables."""
        said = self.query_one("#said", Static)
        said.update(text)
        said.set_class(bad, "bad")

    def _table(self, name: str) -> DataTable[Text]:
        table: DataTable[Text] = self.query_one(name, DataTable)
        return table


class Question(ModalScreen[bool]):
    """A key that ends everything asks once."""

    CSS = """
    Question { align: center middle; }
    #question { width: auto; height: auto; padding: 1 3; border: round $error; background: $panel; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y,q", "dismiss(True)", "shut down"),
        Binding("n", "dismiss(False)", "no"),
    ]

    def __init__(self, site: str) -> None:
        super().__init__()
        self._site = site

    def compose(self) -> ComposeResult:
        yield Static(
            f"Shut down site {self._site}? All cameras, processors and recordings end.\n\n"
            "y or q  shut down     n or Esc  no",
            id="question",
            markup=False,
        )


def fill(table: DataTable[Text], columns: Iterable[str], wanted: Iterable[rows.Row]) -> None:
    """Make a table say these rows: what is the same is left alone, so that the cursor and the eye stay."""
    listed = list(wanted)
    if [row.key for row in listed] != [key.value for key in table.rows]:
        _refill(table, columns, listed)
        return
    for row in listed:
        for column, cell in zip(columns, row.cells, strict=True):
            text = styled(column, cell, row.style)
            if table.get_cell(row.key, column) != text:
                table.update_cell(row.key, column, text, update_width=True)


def _refill(table: DataTable[Text], columns: Iterable[str], listed: list[rows.Row]) -> None:
    at = table.cursor_row
    table.clear()
    for row in listed:
        pairs = zip(columns, row.cells, strict=True)
        table.add_row(*(styled(column, cell, row.style) for column, cell in pairs), key=row.key)
    if listed:
        table.move_cursor(row=min(at, len(listed) - 1))


def styled(column: str, cell: str, style: str) -> Text:
    """A cell: figures to the right, the state in its colour."""
    if column == "STATE":
        return Text(cell, style="bold red" if cell == "recording" else style)
    return Text(cell, justify="right" if column in rows.FIGURES else "left")
