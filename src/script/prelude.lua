-- What the sandbox of scripts is made of beyond Lua's own libraries. It runs once for each interpreter, outside of the sandbox.
--
-- Lua 5.1 knows no read-only tables, so scripts see empty tables that stand for the real ones ("views"): reading goes through `__index`, writing
-- fails. The functions that look past metatables are replaced by ones that know views. A function that raises an error in the name of the
-- function that called it does so with level 2, as the C functions of Lua do.

local host = ...

local error, type, select, tostring, pcall, xpcall = error, type, select, tostring, pcall, xpcall
local rawset, rawget, next, setmetatable, getmetatable = rawset, rawget, next, setmetatable, getmetatable
local tonumber, byte = tonumber, string.byte
local insert, foreach = table.insert, table.foreach
local resume, wrap = coroutine.resume, coroutine.wrap

local READONLY = 'Attempt to modify a readonly table'

local real_of = {}
local shown_metatable = {}

local function deny()
    error(READONLY, 2)
end

local function view(real)
    local seen = setmetatable({}, { __index = real, __newindex = deny })
    real_of[seen] = real
    return seen
end

local function got(count, index, value)
    if count < index then
        return 'no value'
    end
    return type(value)
end

local function check_table(name, count, value)
    if type(value) ~= 'table' then
        error("bad argument #1 to '" .. name .. "' (table expected, got " .. got(count, 1, value) .. ')', 3)
    end
end

local function check_value(name, count, index)
    if count < index then
        error('bad argument #' .. index .. " to '" .. name .. "' (value expected)", 3)
    end
end

-- For an optional number.
local function check_number(name, index, value)
    if value ~= nil and tonumber(value) == nil then
        error('bad argument #' .. index .. " to '" .. name .. "' (number expected, got " .. type(value) .. ')', 3)
    end
end

local shown = {}

function shown.pairs(...)
    local t = ...
    check_table('pairs', select('#', ...), t)
    return next, real_of[t] or t, nil
end

function shown.next(...)
    local t, key = ...
    check_table('next', select('#', ...), t)
    return next(real_of[t] or t, key)
end

function shown.rawget(...)
    local t, key = ...
    check_table('rawget', select('#', ...), t)
    check_value('rawget', select('#', ...), 2)
    return rawget(real_of[t] or t, key)
end

function shown.rawset(...)
    local t, key, value = ...
    local count = select('#', ...)
    check_table('rawset', count, t)
    check_value('rawset', count, 2)
    check_value('rawset', count, 3)
    if real_of[t] then
        error(READONLY, 0)
    end
    return rawset(t, key, value)
end

function shown.getmetatable(...)
    local value = ...
    check_value('getmetatable', select('#', ...), 1)
    if type(value) == 'string' then
        return shown_metatable.string
    elseif real_of[value] then
        return shown_metatable[value]
    end
    return getmetatable(value)
end

function shown.setmetatable(...)
    local t, metatable = ...
    local count = select('#', ...)
    check_table('setmetatable', count, t)
    if type(metatable) ~= 'table' and (metatable ~= nil or count < 2) then
        error("bad argument #2 to 'setmetatable' (nil or table expected)", 2)
    elseif real_of[t] then
        error(READONLY, 0)
    end
    local before = getmetatable(t)
    if type(before) ~= 'table' and before ~= nil or type(before) == 'table' and rawget(before, '__metatable') ~= nil then
        error('cannot change a protected metatable', 2)
    end
    return setmetatable(t, metatable)
end

-- The error that a caught failure of one of our functions stands for; any other value as it is.
local function error_value(caught)
    if type(caught) == 'userdata' then
        return host.error_value(caught)
    end
    return caught
end

-- Redis has scripts catch the text of an error table, as they did when errors were texts.
local function settle(ok, ...)
    if ok then
        return true, ...
    end
    local caught = error_value((...))
    if type(caught) == 'table' then
        local text = caught.err
        if text ~= nil then
            return false, text
        end
    end
    return false, caught
end

function shown.pcall(...)
    if select('#', ...) == 0 then
        return false, 'attempt to call a boolean value'
    end
    return settle(pcall(...))
end

local function settle_raw(ok, ...)
    if ok then
        return true, ...
    end
    return false, error_value((...))
end

function shown.xpcall(...)
    local called, handler = ...
    check_value('xpcall', select('#', ...), 2)
    return settle_raw(xpcall(called, function(caught)
        return handler(error_value(caught))
    end))
end

-- So many values fit on the stack in Redis. mlua has a bound as well, and panics there.
local RESULTS_MAX = 7900

local function string_byte(...)
    local text, first, last = ...
    if type(text) ~= 'string' and type(text) ~= 'number' then
        error("bad argument #1 to 'byte' (string expected, got " .. got(select('#', ...), 1, text) .. ')', 2)
    end
    check_number('byte', 2, first)
    check_number('byte', 3, last)
    if last then
        local length = #tostring(text)
        local from, to = first or 1, last + 0
        from = from < 0 and from + length + 1 or from + 0
        to = to < 0 and to + length + 1 or to
        if (to < length and to or length) - (from > 1 and from or 1) >= RESULTS_MAX then
            error('stack overflow (string slice too long)', 2)
        end
    end
    return byte(text, first, last)
end

local function table_insert(t, ...)
    local count = select('#', ...)
    check_table('insert', t == nil and count == 0 and 0 or 1, t)
    if count == 1 then
        if real_of[t] then
            error(READONLY, 0)
        end
        insert(t, (...))
    elseif count == 2 then
        local at, value = ...
        if type(at) ~= 'number' and tonumber(at) == nil then
            error("bad argument #2 to 'insert' (number expected, got " .. type(at) .. ')', 2)
        elseif real_of[t] then
            error(READONLY, 0)
        end
        insert(t, at, value)
    else
        error("wrong number of arguments to 'insert'", 2)
    end
end

local function table_foreach(...)
    local t, f = ...
    check_table('foreach', select('#', ...), t)
    if type(f) ~= 'function' then
        error("bad argument #2 to 'foreach' (function expected, got " .. got(select('#', ...), 2, f) .. ')', 2)
    end
    return foreach(real_of[t] or t, f)
end

local function coroutine_resume(...)
    if type((...)) ~= 'thread' then
        error("bad argument #1 to 'resume' (coroutine expected)", 2)
    end
    return settle_raw(resume(...))
end

local function coroutine_wrap(f)
    if type(f) ~= 'function' or host.is_native(f) then
        error("bad argument #1 to 'wrap' (Lua function expected)", 2)
    end
    return wrap(f)
end

-- What an error becomes on its way out of a script: a table that says where it was raised.
local function handler(caught)
    caught = error_value(caught)
    if type(caught) ~= 'table' then
        caught = { err = 'ERR ' .. tostring(caught) }
    end
    local source, line = host.raised_at()
    if source then
        caught.source = source
        caught.line = line
    end
    return caught
end

local function copy(from, names)
    local to = {}
    for name in names:gmatch('%S+') do
        to[name] = from[name]
    end
    return to
end

local real_globals = copy(_G, [[
    assert collectgarbage error gcinfo ipairs load loadstring rawequal select tonumber tostring type _VERSION
]])
for name, f in next, shown do
    real_globals[name] = f
end
for name, f in next, host.globals do
    real_globals[name] = f
end
real_globals.__redis__err__handler = handler

local libraries = {
    string = copy(string, 'byte char dump find format gfind gmatch gsub len lower match rep reverse sub upper'),
    table = copy(table, 'concat foreach foreachi getn insert maxn remove setn sort'),
    math = copy(math, [[
        abs acos asin atan atan2 ceil cos cosh deg exp floor fmod frexp huge ldexp log log10 max min mod modf pi pow rad sin sinh sqrt tan tanh
    ]]),
    coroutine = copy(coroutine, 'create resume running status wrap yield'),
    os = copy(os, ''),
}
libraries.string.byte = string_byte
libraries.table.insert = table_insert
libraries.table.foreach = table_foreach
libraries.coroutine.resume = coroutine_resume
libraries.coroutine.wrap = coroutine_wrap
for name, members in next, host.libraries do
    local library = libraries[name] or {}
    libraries[name] = library
    for member, value in next, members do
        library[member] = value
    end
end

local views = {}
for name, library in next, libraries do
    views[name] = view(library)
    real_globals[name] = views[name]
end

local function missing(_, name)
    error("Script attempted to access nonexistent global variable '" .. tostring(name) .. "'", 2)
end

-- The globals of scripts, or of functions, which have no arguments there. While a library is being loaded it sees other globals, and only few.
local function globals(redis, loading)
    local real = {}
    for name, value in next, real_globals do
        real[name] = value
    end
    real.redis = view(redis)
    local seen = view(real)
    real._G = seen
    setmetatable(real, { __index = missing })
    shown_metatable[seen] = view({ __index = missing })
    local function switch() end
    if loading then
        real.__redis__err__handler = nil
        local few = setmetatable({ redis = view(setmetatable(loading, { __index = missing })) }, { __index = missing })
        local metatable = getmetatable(seen)
        function switch(is_loading)
            metatable.__index = is_loading and few or real
        end
    end
    return real, seen, switch
end

shown_metatable.string = view({ __index = views.string })

-- Runs a compiled script; nothing escapes but its results, or an error table.
local function run(script, ...)
    if select('#', ...) == 0 then
        return xpcall(script, handler)
    end
    local first, second = ...
    return xpcall(function()
        return script(first, second)
    end, handler)
end

return globals, run
