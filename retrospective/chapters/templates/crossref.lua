-- Numbers figures, tables and sections, answers @fig:x, @tbl:x and @sec:x, and gives each output its own layout.
-- Runs before citeproc. Both outputs take their numbers from here, so that HTML and PDF say the same.

local names = { fig = "Figure", tbl = "Table", sec = "Section" }
local numbers = {}                 -- identifier -> number, as text
local counts = { fig = 0, tbl = 0 }
local levels = { 0, 0, 0, 0, 0, 0 }
local not_drawn = {}               -- figure -> why, as inlines
local typst = FORMAT:match("typst") ~= nil

local function kind_of(identifier)
  local kind = identifier:match("^(%a+):")
  return kind and names[kind] and kind
end

local function number(identifier, text)
  if numbers[identifier] then error("the label " .. identifier .. " is given twice") end
  numbers[identifier] = text
  return text
end

local function captioned(block, kind)
  if kind_of(block.identifier) ~= kind then
    error("a " .. names[kind]:lower() .. " has no label {#" .. kind .. ":...}: " .. pandoc.utils.stringify(block.caption))
  end
  counts[kind] = counts[kind] + 1
  local label = names[kind] .. "\u{a0}" .. number(block.identifier, tostring(counts[kind])) .. "."
  local long = block.caption.long
  if #long == 0 then long = pandoc.Blocks({ pandoc.Plain({}) }) end
  long[1].content:insert(1, pandoc.Strong({ pandoc.Str(label) }))
  long[1].content:insert(2, pandoc.Space())
  block.caption.long = long
  return block
end

-- First walk, in document order: count and label.
local count = {
  traverse = "topdown",
  Header = function(header)
    if header.classes:includes("unnumbered") then return nil end
    levels[header.level] = levels[header.level] + 1
    for deeper = header.level + 1, #levels do levels[deeper] = 0 end
    if kind_of(header.identifier) == "sec" then
      number(header.identifier, table.concat(levels, ".", 1, header.level))
    end
  end,
  Figure = function(figure)
    -- A figure the data could not fill keeps its number, so that the text reads the same on every machine.
    local why
    figure:walk({ Image = function(image) why = not_drawn[image.src:match("([%w_]+)%.svg$")] end })
    if why then
      figure.content = { pandoc.Div({ pandoc.Para({ pandoc.Emph({ pandoc.Str("Not drawn:"), pandoc.Space(), table.unpack(why) }) }) }, { class = "not-drawn" }) }
    end
    return captioned(figure, "fig")
  end,
  Table = function(block) return captioned(block, "tbl") end,
}

-- On a narrow screen a row becomes a card: each cell then needs the name of its column.
local function name_cells(block)
  local titles = {}
  if block.head.rows[1] then
    for _, cell in ipairs(block.head.rows[1].cells) do titles[#titles + 1] = pandoc.utils.stringify(cell.contents) end
  end
  for _, body in ipairs(block.bodies) do
    for _, row in ipairs(body.body) do
      for i, cell in ipairs(row.cells) do
        if titles[i] and titles[i] ~= "" then cell.attr.attributes["data-label"] = titles[i] end
      end
    end
  end
  return block
end

-- Second walk: answer references, lay out.
local resolve = {
  Cite = function(cite)
    local kind = kind_of(cite.citations[1].id)
    if not kind then return nil end
    local answers = pandoc.Inlines({})
    for i, citation in ipairs(cite.citations) do
      local found = numbers[citation.id]
      if not found then error("a reference to " .. citation.id .. ", which is nowhere") end
      if i > 1 then answers:extend({ pandoc.Str(i == #cite.citations and " and" or ","), pandoc.Space() }) end
      local text = names[kind_of(citation.id)] .. "\u{a0}" .. found
      answers:insert(pandoc.Link({ pandoc.Str(text) }, "#" .. citation.id, "", { class = "crossref" }))
    end
    return answers
  end,
  Span = function(span)
    if typst and span.classes:includes("badge") then
      local colour = "undecided"
      for _, class in ipairs(span.classes) do colour = class:match("^badge%-(.+)$") or colour end
      local open = pandoc.RawInline("typst", '#badge("' .. colour .. '")[')
      return { open, pandoc.Span(span.content), pandoc.RawInline("typst", "]") }
    end
  end,
  Table = function(block)
    if typst then return nil end
    return pandoc.Div({ name_cells(block) }, { class = "table" })
  end,
  Div = function(div)
    if not typst then return nil end
    for _, layout in ipairs({ "abstract", "landscape", "small" }) do
      if div.classes:includes(layout) then
        local blocks = pandoc.Blocks({ pandoc.RawBlock("typst", "#" .. layout .. "[") })
        blocks:extend(div.content)
        blocks:insert(pandoc.RawBlock("typst", "]"))
        return blocks
      end
    end
  end,
}

return { { Meta = function(meta) not_drawn = meta["not-drawn"] or {} end }, count, resolve }
