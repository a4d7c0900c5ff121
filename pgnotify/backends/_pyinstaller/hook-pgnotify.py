"""What PyInstaller cannot see in the code: backends are imported by name, and other distributions may have some.

The installed drivers come along, since `pgnotify.connect` chooses one of them. Exclude those that you do not want with
``--exclude-module``.
"""

from PyInstaller.utils.hooks import collect_entry_point, collect_submodules

from pgnotify.registry import ASYNC_ENTRY_POINT_GROUP, ENTRY_POINT_GROUP

datas, hiddenimports = collect_entry_point(ENTRY_POINT_GROUP)
datas_of_async, hiddenimports_of_async = collect_entry_point(ASYNC_ENTRY_POINT_GROUP)
datas += datas_of_async
hiddenimports += hiddenimports_of_async
hiddenimports += collect_submodules("pgnotify.backends", lambda name: "_pyinstaller" not in name)

# Their backends need them, and so does an application that uses them; others do without.
excludedimports = ["django", "sqlalchemy", "pytest"]
