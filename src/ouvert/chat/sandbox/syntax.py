"""What the template's own syntax costs, and whose its texts are: changes to what Jinja compiles."""

from collections.abc import Iterable
from typing import Any

from jinja2 import ext, nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.parser import Parser as TemplateParser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from ouvert.chat.owned_text import OwnedText
from ouvert.chat.written import own


class Meters(NodeTransformer):
    """Puts a meter into every loop, and around every expression that makes a container or joins strings."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802 - the visitor's naming
        self.generic_visit(node)
        text = sum(len(data.data) for body in node.body for data in body.find_all(nodes.TemplateData))
        text += sum(len(body.data) for body in node.body if isinstance(body, nodes.TemplateData))
        tick = own_call("tick", [nodes.Const(1 + text)], node.lineno)
        node.body = [nodes.ExprStmt(tick, lineno=node.lineno), *node.body]
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802 - the visitor's naming
        self.generic_visit(node)
        return own_call("joined", node.nodes, node.lineno)

    def visit_container(self, node: nodes.Expr) -> nodes.Node:
        self.generic_visit(node)
        constant = all(isinstance(child, nodes.Const | nodes.Pair) for child in node.iter_child_nodes())
        if getattr(node, "ctx", "load") != "load" or (constant and not isinstance(node, nodes.Dict)):
            return node
        return own_call("weighed", [node], node.lineno)

    visit_List = visit_Tuple = visit_Dict = visit_container  # noqa: N815 - the visitor's naming

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:  # noqa: N802 - the visitor's naming
        self.generic_visit(node)
        return own_call("weighed", [node], node.lineno) if isinstance(node.arg, nodes.Slice) else node


class LiteralsEnvironment(ImmutableSandboxedEnvironment):
    """Holds the texts of the templates compiled in it, as OwnedText, for the compiled form to look up."""

    literals: list[OwnedText]

    def __init__(self, **settings: Any) -> None:
        self.literals = []
        super().__init__(**settings)

    def literal(self, text: str) -> str:
        """The expression for a text of the template in its compiled form."""
        self.literals.append(own(text))
        return f"environment.literals[{len(self.literals) - 1}]"


class OwnLiterals(CodeGenerator):
    """Compiles every text that stands in the template to an OwnedText that is the template's."""

    environment: LiteralsEnvironment

    def visit_Const(self, node: nodes.Const, frame: Frame) -> None:  # noqa: N802 - the visitor's naming
        if isinstance(node.value, str):
            self.write(self.environment.literal(node.value))
        else:
            super().visit_Const(node, frame)

    def visit_TemplateData(self, node: nodes.TemplateData, frame: Frame) -> None:  # noqa: N802 - the visitor's naming
        self.write(self.environment.literal(node.data))

    def _output_const_repr(self, group: Iterable[Any]) -> str:
        return self.environment.literal("".join(map(str, group)))


def own_call(name: str, arguments: list[nodes.Expr], line: int) -> nodes.Expr:
    function = nodes.EnvironmentAttribute(name, lineno=line)
    return nodes.Call(function, [nodes.ContextReference(lineno=line), *arguments], [], None, None, lineno=line)


class Generation(ext.Extension):
    """`{% generation %}…{% endgeneration %}` marks what the model wrote; the text is passed through."""

    tags = {"generation"}  # noqa: RUF012 - Jinja's own protocol

    def parse(self, parser: TemplateParser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)
