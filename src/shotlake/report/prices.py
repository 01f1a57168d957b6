"""The price book: what an hour of a machine, a thousand requests and a gigabyte cost, each with its source and date.

A price is `verified` only if somebody saw it on a bill; every text that shows a sum says which of the three it is:
verified, list price, or assumed.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from shotlake.config import ReportConfig, Section, config_dir
from shotlake.errors import ConfigError, NoPrice
from shotlake.storage import is_remote

Usd = Annotated[float, Field(ge=0, le=1_000_000)]
RequestKind = Literal["get", "list", "put"]


class Rate(Section):
    """Dollars a unit that the section of the book names."""

    usd: Usd
    source: str
    date: str
    verified: bool = False


class InstancePrice(Section):
    """One kind of machine: an hour of the whole of it, or of each of its cores."""

    usd_per_hour: Usd | None = None
    usd_per_core_hour: Usd | None = None
    vcpus: Annotated[int, Field(ge=0)] = 0
    gpus: Annotated[int, Field(ge=0)] = 0
    kind: Literal["on_demand", "spot", "capacity_block", "assumed"]
    source: str
    date: str
    verified: bool = False

    @model_validator(mode="after")
    def _one_price(self) -> InstancePrice:
        if (self.usd_per_hour is None) == (self.usd_per_core_hour is None):
            raise ValueError("give one of usd_per_hour and usd_per_core_hour")
        if self.usd_per_hour is not None and not self.vcpus:
            raise ValueError("usd_per_hour needs vcpus")
        return self

    def node_usd_per_hour(self, cores: int) -> float:
        """Dollars an hour of one node; `cores` is what it has if it is priced by the core."""
        if self.usd_per_hour is not None:
            return self.usd_per_hour
        return (self.usd_per_core_hour or 0.0) * cores

    def node_cores(self, cores: int) -> int:
        """Cores of one node: the book's, or the given ones if it is priced by the core."""
        return self.vcpus or cores

    @property
    def core_usd_per_hour(self) -> float:
        """Dollars an hour of one core: its share of the machine where that is priced as a whole."""
        return self.node_usd_per_hour(1) / self.node_cores(1)

    @property
    def trust(self) -> str:
        """How far to believe the price, for people."""
        if self.verified:
            return "price verified on a bill"
        return "assumed price" if self.kind == "assumed" else "price not verified on a bill"

    def describe(self, name: str) -> str:
        """Name, price, and how far to trust it, for people."""
        hourly, unit = (self.usd_per_core_hour, "a core-hour")
        if self.usd_per_hour is not None:
            hourly, unit = self.usd_per_hour, "an hour"
        kind = "" if self.kind == "assumed" else f" {self.kind.replace('_', ' ')},"
        return f"{name} at ${hourly:g} {unit},{kind} {self.trust}: {self.source}, {self.date}"


class PriceBook(Section):
    """All rows of one file; its name, and whether and how the bytes of a source are paid for, come from the loader."""

    name: str = ""
    way: str = "none"
    remote: bool = True
    currency: Literal["USD"] = "USD"
    region: str = ""
    instances: dict[str, InstancePrice]
    requests: dict[RequestKind, Rate]
    egress: dict[str, Rate]
    storage: dict[str, Rate] = {}

    def price_of(self, instance: str) -> InstancePrice:
        """The row of an instance. Errors: NoPrice, naming the book and close names."""
        if instance in self.instances:
            return self.instances[instance]
        close = difflib.get_close_matches(instance, self.instances, n=3) or sorted(self.instances)
        raise NoPrice(
            f"no price of {instance!r} in {self.name}, which has {', '.join(close)}; "
            "add a row or set report.instance to a name of the book"
        )

    def for_source(self, uri: str) -> PriceBook:
        """The same book for reading from `uri`: a local folder has no price for requests and bytes."""
        return self.model_copy(update={"remote": is_remote(uri)})

    def request_usd(self, kind: RequestKind, requests: int) -> float:
        """Dollars for so many requests. Errors: NoPrice if the book has no row of that kind."""
        if not (requests and self.remote):
            return 0.0
        if kind not in self.requests:
            raise NoPrice(f"no price of {kind} requests in {self.name}; add requests.{kind}.usd, dollars a thousand")
        return requests / 1000 * self.requests[kind].usd

    def egress_usd(self, n_bytes: int) -> float:
        """Dollars for bytes that are read over `report.egress`; "none" is free. Errors: NoPrice for an unknown way."""
        if self.way == "none" or not self.remote:
            return 0.0
        if self.way not in self.egress:
            known = ", ".join(["none", *self.egress])
            raise NoPrice(f"no price of the way {self.way!r} in {self.name}; set report.egress to one of {known}")
        return n_bytes / 1e9 * self.egress[self.way].usd


def load_prices(config: ReportConfig) -> PriceBook:
    """The book that the configuration names, or the shipped one. Errors: ConfigError, naming file and key."""
    file = config.price_book or str(config_dir() / "prices.yaml")
    try:
        tree = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
        return PriceBook.model_validate({**tree, "name": Path(file).name, "way": config.egress})
    except OSError as error:
        raise ConfigError(f"cannot read the price book {file!r}: {error.strerror}; check report.price_book") from None
    except (yaml.YAMLError, TypeError):
        raise ConfigError(
            f"the price book {file!r} is not a YAML mapping; correct it or set report.price_book"
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{key} in the price book {file!r}: {first['msg'][0].lower()}{first['msg'][1:]}") from None
