"""What differs by province: configs/parameters.yaml, with a national wording or an example."""

from decimal import Decimal
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from assistant import yaml_file
from assistant.settings import ROOT

FILE = ROOT / "configs" / "parameters.yaml"

PROVINCES = (
    *("北京", "天津", "上海", "重庆", "河北", "山西", "辽宁", "吉林", "黑龙江", "江苏", "浙江"),
    *("安徽", "福建", "江西", "山东", "河南", "湖北", "湖南", "广东", "海南", "四川", "贵州"),
    *("云南", "陕西", "甘肃", "青海", "内蒙古", "广西", "西藏", "宁夏", "新疆"),
)


class Parameter(BaseModel):
    """One fact: words for policy cards (`national`), or a number for calculators (`example`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    national: str | None = None
    """Spoken where the caller's province is unknown or has no words of its own."""
    example: Decimal | None = Field(None, gt=0)
    """Taken, and said to be an example, where neither caller nor province gives the number."""
    provinces: dict[str, str | Decimal] = {}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.national is None) == (self.example is None):
            raise ValueError("give either national (words) or example (a number)")
        kind = str if self.national is not None else Decimal
        for province, value in self.provinces.items():
            if province not in PROVINCES:
                raise ValueError(f"provinces: no province {province}; write it as {PROVINCES[0]}")
            if not isinstance(value, kind):
                raise ValueError(f"provinces: {province}: expected {kind.__name__}")
        return self

    def words(self, province: str | None) -> str:
        """What is spoken for a province."""
        return str(self.provinces.get(province or "", self.national))

    def number(self, province: str | None) -> Decimal | None:
        """The province's own number; None where only the example is known."""
        value = self.provinces.get(province or "")
        return value if isinstance(value, Decimal) else None


def load(file: Path = FILE) -> dict[str, Parameter]:
    """All parameters by name; raises ConfigError that names file and field."""
    return yaml_file.read(file, TypeAdapter(dict[str, Parameter]))
