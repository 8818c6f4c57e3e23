-- One request, or several in a row, made once and sent again and again.
--
--   wrk … -s wrk.lua URL -- METHOD DEPTH [CONTENT_TYPE BODY]
--
-- The last line of the output is the outcome as JSON, as outcome.lua has it.

dofile(debug.getinfo(1, "S").source:match("^@(.*/)") .. "outcome.lua")

function init(args)
   wrk.method = args[1]
   if args[4] then
      wrk.headers["Content-Type"] = args[3]
      wrk.body = args[4]
   end
   local requests = string.rep(wrk.format(), tonumber(args[2]))
   -- wrk calls it once, as long as there is no global `request`.
   wrk.format = function() return requests end
end
