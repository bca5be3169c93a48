"""The environment of the templates of all HTML pages."""

from jinja2 import Environment, PackageLoader, StrictUndefined

from watchmove.pipeline.files.text_lines import visible


def html_environment(package: str) -> Environment:
    """Return an environment for the templates of a package.

    Names, titles, licences, settings and errors are not trusted: all text is escaped, and letters that cannot be seen,
    or that turn the text around them, have their code in their place. A misspelt name fails and is not left empty.
    """
    return Environment(
        loader=PackageLoader(package),
        autoescape=True,
        finalize=lambda value: visible(value) if type(value) is str else value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
