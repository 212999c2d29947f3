"""rclpy.parameter, and the parameters of a node."""

from __future__ import annotations

import array
from collections.abc import Callable, Iterable, Sequence
from enum import IntEnum
from typing import Any

from aam_edge.ros.messages import message
from aam_edge.ros.rclpy.exceptions import (
    InvalidParameterTypeException,
    InvalidParameterValueException,
    NotCovered,
    ParameterAlreadyDeclaredException,
    ParameterImmutableException,
    ParameterNotDeclaredException,
    ParameterUninitializedException,
)

OnSet = Callable[[list["Parameter"]], Any]


class Parameter:
    """A name with a value and its type."""

    class Type(IntEnum):
        """What values there are."""

        NOT_SET = 0
        BOOL = 1
        INTEGER = 2
        DOUBLE = 3
        STRING = 4
        BYTE_ARRAY = 5
        BOOL_ARRAY = 6
        INTEGER_ARRAY = 7
        DOUBLE_ARRAY = 8
        STRING_ARRAY = 9

        @classmethod
        def from_parameter_value(cls, value: Any) -> Parameter.Type:
            """The type of a Python value; TypeError if it has none."""
            return type_of(value)

    def __init__(self, name: str, type_: Type | None = None, value: Any = None):
        self.name = name
        self.type_ = type_of(value) if type_ is None else Parameter.Type(type_)
        if type_ is not None and value is not None and type_of(value) is not self.type_:
            raise ValueError(f"Type '{self.type_!r}' and value '{value}' do not agree")
        self.value = value.tolist() if isinstance(value, array.array) else value

    def __repr__(self) -> str:
        return f"Parameter(name={self.name!r}, type_={self.type_.name}, value={self.value!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Parameter) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]


SINGLE = {
    bool: Parameter.Type.BOOL,
    int: Parameter.Type.INTEGER,
    float: Parameter.Type.DOUBLE,
    str: Parameter.Type.STRING,
}
ROWS = {
    bytes: Parameter.Type.BYTE_ARRAY,
    bool: Parameter.Type.BOOL_ARRAY,
    int: Parameter.Type.INTEGER_ARRAY,
    float: Parameter.Type.DOUBLE_ARRAY,
    str: Parameter.Type.STRING_ARRAY,
}


def type_of(value: Any) -> Parameter.Type:
    """The type of a Python value; TypeError if it has none."""
    if value is None:
        return Parameter.Type.NOT_SET
    if type(value) in SINGLE:
        return SINGLE[type(value)]
    if isinstance(value, (list, tuple, array.array)):
        kinds = {type(item) for item in value}
        if not kinds:
            return Parameter.Type.BYTE_ARRAY
        if len(kinds) == 1 and (kind := kinds.pop()) in ROWS:
            return ROWS[kind]
    raise TypeError(f"The given value is not one of the allowed types '{value!r}'.")


class Parameters:
    """What a node has declared; part of `Node`."""

    def __init__(self, overrides: dict[str, Any], allow_undeclared: bool):
        self._overrides, self._allows_undeclared = overrides, allow_undeclared
        self._parameters: dict[str, Parameter] = {}
        self._descriptors: dict[str, Any] = {}
        self._on_set: list[OnSet] = []
        self._before_set: list[OnSet] = []
        self._after_set: list[Callable[[list[Parameter]], None]] = []

    def declare_parameter(
        self,
        name: str,
        value: Any = None,
        descriptor: Any = None,
        ignore_override: bool = False,
    ) -> Parameter:
        """Declares one; the command line's value goes first."""
        if name in self._parameters:
            raise ParameterAlreadyDeclaredException(name)
        descriptor = descriptor or message("rcl_interfaces/msg/ParameterDescriptor")()
        kind = None
        if isinstance(value, Parameter.Type):
            kind, value = value, None
        if name in self._overrides and not ignore_override:
            given = self._overrides[name]
            value = float(given) if _is_double(kind, value) and type(given) is int else given
        declared = Parameter(name, None, value)
        if kind is not None and value is not None and declared.type_ is not kind:
            raise InvalidParameterTypeException(f"expected {kind.name}", name)
        descriptor.name, descriptor.type = name, int(kind or declared.type_)
        if why := _unfit(declared, descriptor):
            raise InvalidParameterValueException(why, name)
        if value is not None:
            result = self._ask([declared])
            if not result.successful:
                raise InvalidParameterValueException(result.reason or "refused", name)
        self._parameters[name], self._descriptors[name] = declared, descriptor
        return declared

    def declare_parameters(
        self, namespace: str, parameters: Iterable[Sequence[Any]], ignore_override: bool = False
    ) -> list[Parameter]:
        """Declares several; each is (name), (name, value) or (name, value, descriptor)."""
        prefix = f"{namespace}." if namespace else ""
        declared = []
        for name, *rest in parameters:
            value, descriptor, *_ = *rest, None, None
            declared.append(
                self.declare_parameter(prefix + name, value, descriptor, ignore_override)
            )
        return declared

    def undeclare_parameter(self, name: str) -> None:
        """Forgets one."""
        self._declared(name)
        if self._descriptors[name].read_only:
            raise ParameterImmutableException("Attempted to modify read-only parameter", name)
        del self._parameters[name], self._descriptors[name]

    def has_parameter(self, name: str) -> bool:
        """Whether it is declared."""
        return name in self._parameters

    def get_parameter(self, name: str) -> Parameter:
        """One by its name."""
        if name not in self._parameters and self._allows_undeclared:
            return Parameter(name)
        parameter = self._declared(name)
        is_typed = self._descriptors[name].type != Parameter.Type.NOT_SET
        if parameter.value is None and is_typed:
            raise ParameterUninitializedException(name)
        return parameter

    def get_parameters(self, names: Iterable[str]) -> list[Parameter]:
        """Several."""
        return [self.get_parameter(name) for name in names]

    def get_parameter_or(self, name: str, alternative_value: Parameter | None = None) -> Parameter:
        """One, or what is given in its place."""
        if name in self._parameters and self._parameters[name].value is not None:
            return self._parameters[name]
        return alternative_value or Parameter(name)

    def get_parameters_by_prefix(self, prefix: str) -> dict[str, Parameter]:
        """All below a prefix, by the rest of their names."""
        start = f"{prefix}." if prefix else ""
        return {
            n.removeprefix(start): p for n, p in self._parameters.items() if n.startswith(start)
        }

    def describe_parameter(self, name: str) -> Any:
        """Its ParameterDescriptor."""
        self._declared(name)
        return self._descriptors[name]

    def set_parameters(self, parameter_list: Iterable[Parameter]) -> list[Any]:
        """Sets each by itself; a SetParametersResult each."""
        return [self.set_parameters_atomically([parameter]) for parameter in parameter_list]

    def set_parameters_atomically(self, parameter_list: list[Parameter]) -> Any:
        """Sets all or none; a SetParametersResult."""
        for callback in self._before_set:
            parameter_list = callback(parameter_list)
        for parameter in parameter_list:
            if parameter.name not in self._parameters and not self._allows_undeclared:
                raise ParameterNotDeclaredException(parameter.name)
            if why := self._refused(parameter):
                return _result(False, why)
        result = self._ask(parameter_list)
        if result.successful:
            for parameter in parameter_list:
                self._parameters[parameter.name] = parameter
                new = message("rcl_interfaces/msg/ParameterDescriptor")
                fresh = new(name=parameter.name, type=int(parameter.type_))
                self._descriptors.setdefault(parameter.name, fresh)
            for after in self._after_set:
                after(parameter_list)
        return result

    def add_on_set_parameters_callback(self, callback: OnSet) -> None:
        """Asks before each change; the newest callback first."""
        self._on_set.insert(0, callback)

    def add_pre_set_parameters_callback(self, callback: OnSet) -> None:
        """Lets the list be changed before it is looked at."""
        self._before_set.insert(0, callback)

    def add_post_set_parameters_callback(self, callback: Callable[[list[Parameter]], None]) -> None:
        """Tells after each change."""
        self._after_set.insert(0, callback)

    def remove_on_set_parameters_callback(self, callback: OnSet) -> None:
        """Asks it no more."""
        self._on_set.remove(callback)

    def _declared(self, name: str) -> Parameter:
        if name not in self._parameters:
            raise ParameterNotDeclaredException(name)
        return self._parameters[name]

    def _refused(self, parameter: Parameter) -> str:
        descriptor = self._descriptors.get(parameter.name)
        if descriptor is None:
            return ""
        if descriptor.read_only:
            return "Trying to set a read-only parameter: " + parameter.name
        kind = Parameter.Type(descriptor.type)
        is_static = not descriptor.dynamic_typing and kind is not Parameter.Type.NOT_SET
        if is_static and parameter.type_ is not kind:
            return f"Wrong parameter type, expected '{kind:d}' got '{parameter.type_:d}'"
        return _unfit(parameter, descriptor)

    def _ask(self, parameters: list[Parameter]) -> Any:
        if any(p.name == "use_sim_time" and p.value for p in parameters):
            raise NotCovered("simulated time")
        for callback in self._on_set:
            result = callback(parameters)
            if not result.successful:
                return result
        return _result(True, "")


def _result(successful: bool, reason: str) -> Any:
    kind = message("rcl_interfaces/msg/SetParametersResult")
    return kind(successful=successful, reason=reason)


def _is_double(kind: Parameter.Type | None, value: Any) -> bool:
    return kind is Parameter.Type.DOUBLE or isinstance(value, float)


def _unfit(parameter: Parameter, descriptor: Any) -> str:
    """Why a number lies outside the range that was declared; empty if it does not."""
    of_type = {
        Parameter.Type.INTEGER: descriptor.integer_range,
        Parameter.Type.DOUBLE: descriptor.floating_point_range,
    }
    for limits in of_type.get(parameter.type_, ()):
        if not limits.from_value <= parameter.value <= limits.to_value:
            return (
                f"Parameter {parameter.name} out of range. Min: {limits.from_value}, "
                f"Max: {limits.to_value}, value: {parameter.value}"
            )
    return ""
