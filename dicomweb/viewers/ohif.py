"""OHIF below any path: what has to be changed in its published build, which is made for the root of a host, and the
configuration that points it at this server.

No address is written into a file: the page and its scripts find out in the browser where they were loaded from. So
the same files are right on every host, below every prefix and behind every proxy.
"""

import re
from pathlib import Path

from dicomweb.errors import BadPackage

INDEX = "index.html"

# Where a script lies: what a page loaded knows it from the configuration, a worker from its own address.
_HERE = "(self.PUBLIC_URL||new URL('./',self.location.href).pathname)"
_PUBLIC_PATH = re.compile(r"""\b([A-Za-z_$][\w$]*\.p)\s*=\s*(["'])/\2""")
_IMPORTED = re.compile(r"""(browserImportFunction\()(["'])/(?=[^"'/])""")
_LINK = re.compile(r"""(\b(?:href|src|content)=)"/(?!/)""")
_ASSIGNED = re.compile(r"""(window\.PUBLIC_URL)\s*=\s*(["'])/\2""")
_WORKER_SCRIPT = re.compile(r"<script\b[^>]*\binit-service-worker\.js\"[^>]*></script>")
_STYLED = re.compile(r"""(\burl\(["']?)/(?!/)""")
_SERVICE_WORKER = ("init-service-worker.js", "sw.js")
_OTHERS = ("_headers", "_redirects", "serve.json", "google.js", "oidc-client.min.js", "silent-refresh.html")

CONFIGURATION = """\
// How OHIF finds this server. `roentgate viewer install ohif` writes this file once; what you change here stays,
// also when another version is installed. Every option: https://docs.ohif.org/configuration/configurationFiles
(() => {
  const here = new URL("./", document.currentScript.src);
  const dicomweb = new URL("../../dicom-web", here).href;
  const root = new URL("../../", here).href;
  window.PUBLIC_URL = here.pathname;

  // Whoever is signed in stays so while this page is open; who is not signs in, and comes back.
  const renewing = import(new URL("explorer/renewing.js", root));
  renewing.then(({ keepSignedIn }) => keepSignedIn(root), () => {});
  const words = "Your sign-in has ended. Sign in again now? What was measured and not saved is lost. "
    + "Or sign in in another tab, and go on in this one.";
  let asked = null; // where somebody was when that was found, before the viewer says that there is no such study
  const signIn = async ({ status }) => {
    if (status !== 401 || asked !== null) return;
    asked = location.href.slice(root.length);
    const known = await renewing.then(({ renew }) => renew(root)).catch(() => false);
    const reading = document.querySelector("canvas") !== null;
    if (!known && (!reading || confirm(words))) location.assign(new URL(`sign-in#${asked}`, root));
    else asked = null;
  };

  window.config = {
    routerBasename: here.pathname,
    extensions: [],
    modes: [],
    customizationService: {},
    showStudyList: true,
    maxNumberOfWebWorkers: 3,
    showWarningMessageForCrossOrigin: false,
    showCPUFallbackMessage: true,
    showLoadingIndicator: true,
    strictZSpacingForVolumeViewport: true,
    groupEnabledModesFirst: true,
    showErrorDetails: "always",
    httpErrorHandler: signIn,
    // HTTP/1.1 has six connections whatever is asked for; HTTP/2, which browsers speak over TLS, has as many.
    maxNumRequests: { interaction: 100, thumbnail: 10, prefetch: 25 },
    defaultDataSourceName: "roentgate",
    dataSources: [
      {
        namespace: "@ohif/extension-default.dataSourcesModule.dicomweb",
        sourceName: "roentgate",
        configuration: {
          friendlyName: "Roentgate",
          name: "roentgate",
          qidoRoot: dicomweb,
          wadoRoot: dicomweb,
          wadoUriRoot: new URL("../../wado", here).href,
          qidoSupportsIncludeField: true,
          supportsFuzzyMatching: true,
          supportsWildcard: true,
          supportsReject: false,
          dicomUploadEnabled: true,
          enableStudyLazyLoad: true,
          // Frames as they are stored: what is compressed travels compressed. Without quotes in Accept no page of
          // another origin needs a preflight for them.
          imageRendering: "wadors",
          omitQuotationForMultipartRequest: true,
          // The server has small pictures ready: no frame is fetched for one.
          thumbnailRendering: "thumbnail",
          thumbnailRequestStrategy: "fetch",
          // Documents, videos and bulk data as they are, without a multipart envelope.
          singlepart: "bulkdata,video,pdf",
          staticWado: false,
          bulkDataURI: { enabled: true },
        },
      },
    ],
  };
})();
"""


def adapt(folder: Path) -> None:
    """Change unpacked files so that they work below any path; what nobody needs there is removed.

    Links of the page become relative to the viewer's folder: whoever serves it for a deeper path says how deep
    (`at_depth`).

    Raises:
        BadPackage: the build is not laid out as it was when this was written.
    """
    index = folder / INDEX
    try:
        page = index.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise BadPackage("the package has no page to begin with (dist/index.html)") from error
    page = _WORKER_SCRIPT.sub("", page)
    page, assigned = _ASSIGNED.subn(r'\1||="/"', page)
    page, links = _LINK.subn(r'\1"./', page)
    index.write_text(page, encoding="utf-8")
    for path in folder.glob("*.css"):
        path.write_text(_STYLED.sub(r"\1./", path.read_text(encoding="utf-8")), encoding="utf-8")
    changed = sum(_adapt_script(path) for path in sorted(folder.glob("*.js")))
    if not (assigned and links and changed):
        raise BadPackage("this version is built in another way than those that can be placed below a path")
    for name in (*_SERVICE_WORKER, *_OTHERS):
        (folder / name).unlink(missing_ok=True)
    (folder / "app-config.js").unlink(missing_ok=True)


def _adapt_script(path: Path) -> int:
    text = path.read_text(encoding="utf-8")
    text, placed = _PUBLIC_PATH.subn(rf"\1={_HERE}", text)
    text, imported = _IMPORTED.subn(rf"\1{_HERE}+\2", text)
    if placed or imported:
        path.write_text(text, encoding="utf-8")
    return placed


def at_depth(page: str, prefix: str) -> str:
    """Return the page for an address from which `prefix`, such as `../`, leads to the viewer's folder."""
    return re.sub(r"""(\b(?:href|src|content)=)"\./""", rf'\1"{prefix}', page) if prefix != "./" else page
