// Icons as paths on a 24 by 24 grid, drawn with the colour of the text around them.

const PATHS = {
  studies: "M4 5h16v14H4zM4 10h16M9 10v9",
  patients: "M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM4.5 20c.8-4 4-6 7.5-6s6.700 2 7.500 6",
  upload: "M12 16V4M7 9l5-5 5 5M4 16v4h16v-4",
  download: "M12 4v12M7 11l5 5 5-5M4 16v4h16v-4",
  nodes: "M6 8a2.500 2.500 0 1 0 0-5 2.500 2.500 0 0 0 0 5zM18 21a2.500 2.500 0 1 0 0-5 2.500 2.500 0 0 0 0 5zM6 8v5a4 4 0 0 0 4 4h5.500",
  jobs: "M5 6h14M5 12h14M5 18h9",
  status: "M3 12h4l3-7 4 14 3-7h4",
  send: "M4 12 20 4l-6 16-3-7z",
  trash: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13M10 11v5M14 11v5",
  search: "M11 18a7 7 0 1 0 0-14 7 7 0 0 0 0 14zM16 16l5 5",
  more: "M12 5v.01M12 12v.01M12 19v.01",
  close: "M6 6l12 12M18 6 6 18",
  left: "M15 5l-7 7 7 7",
  right: "M9 5l7 7-7 7",
  down: "M5 9l7 7 7-7",
  up: "M5 15l7-7 7 7",
  moon: "M20 14.500A8.500 8.500 0 0 1 9.500 4 8.500 8.500 0 1 0 20 14.500z",
  sun: "M12 16.500a4.500 4.500 0 1 0 0-9 4.500 4.500 0 0 0 0 9zM12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.400 1.400M17.600 17.600 19 19M19 5l-1.400 1.400M6.400 17.600 5 19",
  auto: "M12 3a9 9 0 1 0 0 18zM12 3a9 9 0 0 1 0 18",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  check: "M5 13l5 5 9-11",
  warning: "M12 4 2.500 20h19zM12 10v4M12 17v.01",
  play: "M7 4l13 8-13 8z",
  pause: "M8 5v14M16 5v14",
  zoom: "M11 18a7 7 0 1 0 0-14 7 7 0 0 0 0 14zM16 16l5 5M8 11h6M11 8v6",
  pan: "M12 3v18M3 12h18M9 6l3-3 3 3M9 18l3 3 3-3M6 9l-3 3 3 3M18 9l3 3-3 3",
  window: "M12 3a9 9 0 1 0 0 18zM12 3a9 9 0 1 1 0 18M12 8h7M12 12h9M12 16h7",
  scroll: "M7 3h10v18H7zM12 8V6M12 8l-2 2M12 16v2M12 16l2-2",
  invert: "M4 4h16v16H4zM4 20 20 4",
  reset: "M4 5v5h5M4.500 10a8 8 0 1 1-.5 4",
  fit: "M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5",
  text: "M5 6V4h14v2M12 4v16M9 20h6",
  tags: "M4 4h8l8 8-8 8-8-8zM8 8v.01",
  layers: "M12 3 3 8l9 5 9-5zM3 12.500l9 5 9-5M3 17l9 5 9-5",
  rotate: "M20 5v5h-5M19.500 10a8 8 0 1 0 .5 4",
  flip: "M12 3v18M9 7 4 17h5zM15 7l5 10h-5z",
  echo: "M4 12h4M16 12h4M8 12a4 4 0 1 1 8 0 4 4 0 0 1-8 0z",
  plus: "M12 5v14M5 12h14",
  edit: "M4 20h4L19 9l-4-4L4 16z",
  retry: "M20 5v5h-5M4 19v-5h5M19 10a7.500 7.500 0 0 0-14-1M5 14a7.500 7.500 0 0 0 14 1",
  eye: "M2 12c3-5 6.500-7 10-7s7 2 10 7c-3 5-6.500 7-10 7s-7-2-10-7zM12 15a3 3 0 1 0 0-6 3 3 0 0 0 0 6z",
  link: "M10 14a4 4 0 0 0 6 .500l3-3a4 4 0 0 0-6-6l-1.500 1.500M14 10a4 4 0 0 0-6-.500l-3 3a4 4 0 0 0 6 6l1.500-1.500",
  file: "M6 3h8l5 5v13H6zM14 3v5h5",
  folder: "M3 6h6l2 2h10v11H3z",
};

const SVG = "http://www.w3.org/2000/svg";

export function icon(name, size = 18) {
  const drawn = document.createElementNS(SVG, "svg");
  for (const [key, value] of Object.entries({ viewBox: "0 0 24 24", width: size, height: size, class: "icon", "aria-hidden": "true", focusable: "false" })) {
    drawn.setAttribute(key, value);
  }
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", PATHS[name]);
  drawn.append(path);
  return drawn;
}
